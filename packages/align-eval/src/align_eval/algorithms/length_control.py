"""Length-controlled win rate: what the judge would prefer if both answers were equally long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from align_eval.algorithms.difficulty_model import DifficultyModel

Array = NDArray[np.float64]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class LengthPrior:
    """What is believed of models and of a judge's taste for length before a pair is seen.

    The length coefficients of M models are jointly normal: common mean, variance judge_sd² + model_sd², covariance
    judge_sd². Where all answers are longer by about the same amount, the pairs cannot tell length from quality, and
    what they show is split between the two as their variances are.

    Attributes:
        strength_sd: Standard deviation of a model's strength θ around 0, in logits.
        mean: Mean length coefficient φ, in logits at a length difference far above its usual size.
        judge_sd: How far the judge, and so all models together, may be from the mean.
        model_sd: How far one model may be from the others, above 0.
        difficulty_sd: Standard deviation of the instructions' difficulty, in logits, for pairs that cannot tell it:
            those of one model.
    """

    strength_sd: float
    mean: float
    judge_sd: float
    model_sd: float
    difficulty_sd: float


WEAK = LengthPrior(strength_sd=2.5, mean=0.0, judge_sd=4.0, model_sd=0.36, difficulty_sd=0.0)
"""A judge of whom nothing is known: no taste for length until the pairs show one. 2.5 logits for a variable of sd 1 are
the usual weak prior of a logistic regression (Gelman et al. 2008); tanh of a standardised difference has sd 0.6."""

ALPACA_EVAL_2 = LengthPrior(strength_sd=10.0, mean=1.55, judge_sd=0.0, model_sd=0.36, difficulty_sd=1.7)
"""AlpacaEval 2's judge and baseline. Its leaderboard pulls every model's coefficient to what concise and verbose
variants of the baseline show (1.64 and 1.58); the published coefficients of 184 models have mean 1.55 and sd
0.36. The difficulty's sd is the maximum-likelihood value on eleven of its files."""


@dataclass(frozen=True)
class LengthControlled:
    """One model's result.

    Attributes:
        win_rate: Predicted mean preference at equal lengths, in [0, 1]; None where lengths always differ by the same
            amount, so that nothing tells length from quality.
        standard_error: Its standard error over instructions (sandwich, with the prior as one more observation); None
            for fewer than two instructions.
        coefficient: Logits that the judge gives for a much longer answer; negative for a shorter one.
        difficulty_sd: Standard deviation of the instructions' difficulty in the fit, in logits.
    """

    win_rate: float | None
    standard_error: float | None
    coefficient: float | None
    difficulty_sd: float


def length_controlled(
    preferences: ArrayLike, gaps: ArrayLike, models: ArrayLike, instructions: ArrayLike, prior: LengthPrior = WEAK
) -> list[LengthControlled]:
    """Fit logit P(candidate preferred) = θ_m + φ_m·tanh(Δ/sd_m(Δ)) + γ_i and predict at Δ = 0.

    γ_i ~ N(0, σ²) is what instruction i adds for every model; it is integrated out, and σ is estimated where most
    instructions stand in several pairs (otherwise the prior's is used). Graded preferences y enter by the
    quasi-likelihood y·η − log(1 + e^η). The win rate of a model is the mean of E[logistic(θ_m + γ_i) | pairs] over
    its pairs.

    Args:
        preferences: y of each pair, (N,), in [0, 1]; 1 for the candidate.
        gaps: Δ, length of the candidate's answer minus that of the baseline's, (N,), in any one unit.
        models: Which candidate, (N,), codes 0 … M − 1, each present.
        instructions: Which instruction, (N,), any codes.
        prior: See `LengthPrior`.

    Returns:
        One result a model, by code.

    Raises:
        ValueError: If the shapes differ, a preference is outside [0, 1], a gap is not finite or a code is missing.

    Source:
        Dubois et al., "Length-Controlled AlpacaEval", arXiv 2404.04475, eq. (1)-(3), with the baseline's coefficients
        at 0, normal priors instead of an L1 penalty and one difficulty for all models.
    """
    y_N, gaps_N, models_N, groups_N = _checked(preferences, gaps, models, instructions)
    count = int(models_N.max()) + 1
    scale_M = np.array([_scale(gaps_N[models_N == m]) for m in range(count)])
    known = np.flatnonzero(np.isfinite(scale_M))
    if known.size == 0:
        return [LengthControlled(None, None, None, prior.difficulty_sd)] * count
    rows_N = np.isin(models_N, known)
    model = DifficultyModel(
        y_N[rows_N],
        np.tanh(gaps_N / scale_M[models_N])[rows_N],
        np.searchsorted(known, models_N[rows_N]),
        np.unique(groups_N[rows_N], return_inverse=True)[1],
        strength_sd=prior.strength_sd,
        slope_mean=prior.mean,
        slope_covariance_MM=prior.judge_sd**2 + prior.model_sd**2 * np.eye(known.size),
        difficulty_sd=prior.difficulty_sd,
    )
    best = model.fit()
    sd, rates_M, errors_M = model.sd(best), model.rates(best), model.errors(best)
    found = [LengthControlled(None, None, None, sd)] * count
    for i, m in enumerate(known):
        error = None if np.isnan(errors_M[i]) else float(errors_M[i])
        found[m] = LengthControlled(float(rates_M[i]), error, float(best[known.size + i]), sd)
    return found


def _checked(
    preferences: ArrayLike, gaps: ArrayLike, models: ArrayLike, instructions: ArrayLike
) -> tuple[Array, Array, Codes, Codes]:
    y_N, gaps_N = np.asarray(preferences, dtype=np.float64), np.asarray(gaps, dtype=np.float64)
    models_N, groups_N = np.asarray(models, dtype=np.intp), np.asarray(instructions, dtype=np.intp)
    shapes = {one.shape for one in (y_N, gaps_N, models_N, groups_N)}
    if len(shapes) != 1 or y_N.ndim != 1 or y_N.size == 0:
        raise ValueError(f"length_controlled: expected four equal flat arrays of at least one pair, got {shapes}")
    if not ((y_N >= 0) & (y_N <= 1)).all() or not np.isfinite(gaps_N).all():
        raise ValueError("length_controlled: expected preferences in [0, 1] and finite gaps")
    if models_N.min() < 0 or np.unique(models_N).size != models_N.max() + 1:
        raise ValueError("length_controlled: expected every code from 0 to M − 1 among the models")
    return y_N, gaps_N, models_N, groups_N


def _scale(gaps_N: Array) -> float:
    """What counts as a usual difference; NaN where it is always the same, but 1 where it is always 0."""
    if not gaps_N.any():
        return 1.0
    return float(gaps_N.std(ddof=1)) if np.ptp(gaps_N) > 0 else float("nan")
