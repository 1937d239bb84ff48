"""Length-controlled win rate: what the judge would prefer if both answers were equally long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

NODES = np.linspace(-5.0, 5.0, 51)
"""Places, in standard deviations of the difficulty, at which it is integrated over."""

MOST_DIFFICULTY_SD = 10.0


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
    fit = _Fit(
        y_N[rows_N],
        np.tanh(gaps_N / scale_M[models_N])[rows_N],
        np.searchsorted(known, models_N[rows_N]),
        np.unique(groups_N[rows_N], return_inverse=True)[1],
        prior,
    )
    controlled = dict(zip(known.tolist(), fit.results(), strict=True))
    return [controlled.get(m, LengthControlled(None, None, None, fit.sd(fit.best))) for m in range(count)]


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


class _Fit:
    """The fitted model; parameters are (θ_1 … θ_M, φ_1 … φ_M, σ), the last one only where it is estimated."""

    def __init__(self, y_N: Array, x_N: Array, models_N: Codes, groups_N: Codes, prior: LengthPrior) -> None:
        self.y_N, self.x_N, self.models_N, self.groups_N, self.prior = y_N, x_N, models_N, groups_N, prior
        self.count, self.groups = int(models_N.max()) + 1, int(groups_N.max()) + 1
        shared = np.bincount(groups_N) > 1
        self.estimates_sd = bool(shared.sum() * 2 >= self.groups) and self.groups > 1
        integrates = self.estimates_sd or prior.difficulty_sd > 0
        self.nodes_Q = NODES if integrates else np.zeros(1)
        self.log_weights_Q = -0.5 * self.nodes_Q**2 - np.log(np.exp(-0.5 * self.nodes_Q**2).sum())
        covariance = prior.judge_sd**2 + prior.model_sd**2 * np.eye(self.count)
        self.precision_MM = np.linalg.inv(covariance)
        start = np.concatenate([np.zeros(self.count), np.full(self.count, prior.mean), [1.0] * self.estimates_sd])
        bounds = [(None, None)] * (2 * self.count) + [(0.0, MOST_DIFFICULTY_SD)] * self.estimates_sd
        options = {"maxiter": 2000, "maxfun": 100_000, "ftol": 1e-13, "gtol": 1e-7}
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        self.best: Array = found.x

    def sd(self, params: Array) -> float:
        """Standard deviation of the difficulty."""
        return float(params[-1]) if self.estimates_sd else self.prior.difficulty_sd

    def _posterior(self, params: Array) -> tuple[Array, Array, Array]:
        """Logits (N, Q), log-likelihood of each instruction (G,), and the weight of each node given it (G, Q)."""
        theta_M, phi_M = params[: self.count], params[self.count : 2 * self.count]
        fixed_N = theta_M[self.models_N] + phi_M[self.models_N] * self.x_N
        logits_NQ = fixed_N[:, None] + self.sd(params) * self.nodes_Q
        joint_GQ = np.tile(self.log_weights_Q, (self.groups, 1))
        np.add.at(joint_GQ, self.groups_N, self.y_N[:, None] * logits_NQ - np.logaddexp(0.0, logits_NQ))
        top_G = joint_GQ.max(axis=1)
        weights_GQ = np.exp(joint_GQ - top_G[:, None])
        sums_G = weights_GQ.sum(axis=1)
        return logits_NQ, top_G + np.log(sums_G), weights_GQ / sums_G[:, None]

    def _scores(self, params: Array) -> tuple[float, Array]:
        """Log-likelihood, and its gradient split by instruction (G, parameters)."""
        logits_NQ, likelihood_G, weights_GQ = self._posterior(params)
        residual_NQ = (self.y_N[:, None] - expit(logits_NQ)) * weights_GQ[self.groups_N]
        residual_N = residual_NQ.sum(axis=1)
        scores = np.zeros((self.groups, params.size))
        np.add.at(scores, (self.groups_N, self.models_N), residual_N)
        np.add.at(scores, (self.groups_N, self.count + self.models_N), residual_N * self.x_N)
        if self.estimates_sd:
            np.add.at(scores[:, -1], self.groups_N, residual_NQ @ self.nodes_Q)
        return float(likelihood_G.sum()), scores

    def _loss(self, params: Array) -> tuple[float, Array]:
        likelihood, scores = self._scores(params)
        theta_M, off_M = params[: self.count], params[self.count : 2 * self.count] - self.prior.mean
        pull_M = self.precision_MM @ off_M
        loss = -likelihood + 0.5 * float(theta_M @ theta_M) / self.prior.strength_sd**2 + 0.5 * float(off_M @ pull_M)
        gradient = -scores.sum(axis=0)
        gradient[: self.count] += theta_M / self.prior.strength_sd**2
        gradient[self.count : 2 * self.count] += pull_M
        return loss, gradient

    def _predictions(self, params: Array) -> Array:
        """E[logistic(θ_m + γ_i) | pairs] of each pair (N,)."""
        weights_GQ = self._posterior(params)[2]
        equal_MQ = expit(params[: self.count, None] + self.sd(params) * self.nodes_Q)
        return np.asarray((equal_MQ[self.models_N] * weights_GQ[self.groups_N]).sum(axis=1))

    def _rates(self, params: Array) -> Array:
        """Mean prediction of each model (M,)."""
        sums_M = np.bincount(self.models_N, self._predictions(params), self.count)
        return np.asarray(sums_M / np.bincount(self.models_N, minlength=self.count))

    def results(self) -> list[LengthControlled]:
        """One result a model; the error is that of the influence of each instruction on the rate."""
        rates_M, errors_M = self._rates(self.best), self._errors()
        return [
            LengthControlled(
                float(rates_M[m]),
                float(errors_M[m]) if np.unique(self.groups_N[self.models_N == m]).size > 1 else None,
                float(self.best[self.count + m]),
                self.sd(self.best),
            )
            for m in range(self.count)
        ]

    def _errors(self) -> Array:
        hessian = _jacobian(lambda params: self._loss(params)[1], self.best)
        to_rates = np.linalg.pinv(0.5 * (hessian + hessian.T)) @ _jacobian(self._rates, self.best).T
        influence_GM = self._scores(self.best)[1] @ to_rates
        rates_M, pairs_M = self._rates(self.best), np.bincount(self.models_N, minlength=self.count)
        spread_N = (self._predictions(self.best) - rates_M[self.models_N]) / pairs_M[self.models_N]
        np.add.at(influence_GM, (self.groups_N, self.models_N), spread_N)
        sampling_M = (influence_GM**2).sum(axis=0) * self.groups / max(1, self.groups - 1)
        strength_M, length_M = to_rates[: self.count], to_rates[self.count : 2 * self.count]
        prior_M = (strength_M**2).sum(axis=0) / self.prior.strength_sd**2
        prior_M += (length_M * (self.precision_MM @ length_M)).sum(axis=0)
        return np.asarray(np.sqrt(sampling_M + prior_M))


def _jacobian(function: Callable[[Array], Array], point: Array, step: float = 1e-4) -> Array:
    """Central differences of a vector function (values, parameters)."""
    shifts = step * np.eye(point.size)
    return np.stack([(function(point + one) - function(point - one)) / (2 * step) for one in shifts], axis=1)
