"""Means with Student-t intervals, of one sample, of paired differences and of shares grouped by prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from align_eval.algorithms.wilson import score_interval


@dataclass(frozen=True)
class Mean:
    """A mean and its interval.

    Attributes:
        value: The mean.
        sd: Sample standard deviation (n − 1); None for one value.
        n: Number of values.
        interval: Two-sided Student-t interval; None for one value.
    """

    value: float
    sd: float | None
    n: int
    interval: tuple[float, float] | None


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Mean:
    """Mean with the interval mean ± t·sd/sqrt(n), t with n − 1 degrees of freedom.

    Args:
        values: Finite numbers, at least one.
        confidence: Two-sided coverage, inside (0, 1).

    Returns:
        The mean, its sd and its interval.

    Raises:
        ValueError: If there is no value or one is not finite.

    Source:
        Student (1908), "The probable error of a mean".
    """
    x_N = np.asarray(values, dtype=np.float64)
    if x_N.ndim != 1 or x_N.size == 0 or not np.isfinite(x_N).all():
        raise ValueError(f"mean_interval: expected a flat list of finite numbers, got shape {x_N.shape}")
    mean = float(x_N.mean())
    if x_N.size == 1:
        return Mean(mean, None, 1, None)
    sd = float(x_N.std(ddof=1))
    half = float(stats.t.ppf(0.5 + confidence / 2.0, x_N.size - 1)) * sd / math.sqrt(x_N.size)
    return Mean(mean, sd, int(x_N.size), (mean - half, mean + half))


def clustered_share(
    wins: Sequence[int], decided: Sequence[int], confidence: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """Share of wins over several runs on the same prompts, with the prompt as the unit of chance.

    Runs share the prompts and the baseline's answers, so their outcomes on one prompt go together and a binomial
    interval over all pairs would be too narrow. This one is Wilson's with n_eff in place of the number of pairs and
    Student's t, one degree of freedom fewer than prompts, in place of z:

        n_eff = p̃(1 − p̃) / V,  at most Σd,

    where V is the linearised variance of the ratio p̃ = Σw/Σd, with w_i wins of d_i decided pairs on prompt i. To
    estimate V, not the share, one prompt won throughout and one lost throughout are added, each of the typical size
    Σd²/Σd: few losses, or none, do not tell whether outcomes on a prompt go together, and then it is assumed that they
    do. So G prompts of equal size that are each won or lost as a whole count as G pairs, at 0 % and 100 % too, and G
    single pairs as G pairs exactly; no share is a special case.

    Args:
        wins: Wins a prompt, over the runs.
        decided: Decided pairs a prompt, over the runs; 0 leaves the prompt out.
        confidence: Two-sided coverage, inside (0, 1).

    Returns:
        (Σw/Σd, interval inside [0, 1]); the interval is None for a single prompt, which says nothing about others.

    Raises:
        ValueError: If the lengths differ, a count is out of range, or nothing is decided.

    Source:
        Cochran (1977), "Sampling Techniques", ratio estimates (2.46) for whole clusters; Korn & Graubard (1998),
        "Confidence intervals for proportions with small expected number of positive counts estimated from survey
        data", the effective n (theirs in Clopper & Pearson's interval).
    """
    w_P, d_P = np.asarray(wins, dtype=np.int64), np.asarray(decided, dtype=np.int64)
    if w_P.shape != d_P.shape or w_P.ndim != 1:
        raise ValueError(f"clustered_share: expected two equal flat lists, got {w_P.shape} and {d_P.shape}")
    if (w_P < 0).any() or (w_P > d_P).any() or d_P.sum() <= 0:
        raise ValueError("clustered_share: expected 0 <= wins <= decided and at least one decided pair")
    w_P, d_P = w_P[d_P > 0], d_P[d_P > 0]
    share, prompts = int(w_P.sum()) / int(d_P.sum()), int(d_P.size)
    if prompts == 1:
        return share, None
    quantile = float(stats.t.ppf(0.5 + confidence / 2.0, prompts - 1))
    return share, score_interval(share, _effective_pairs(w_P, d_P), quantile)


def _effective_pairs(w_P: npt.NDArray[np.int64], d_P: npt.NDArray[np.int64]) -> float:
    """How many independent pairs the share of wins is worth (n_eff of `clustered_share`)."""
    typical = float((d_P**2).sum() / d_P.sum())
    w_G, d_G = np.append(w_P, [typical, 0.0]), np.append(d_P, [typical, typical])
    share = float(w_G.sum() / d_G.sum())
    # The factor, G + 2 over G, makes G prompts won or lost as a whole worth G, as G/(G − 1) would without the two.
    variance = d_G.size / d_P.size * float(((w_G - share * d_G) ** 2).sum()) / float(d_G.sum()) ** 2
    # Outcomes that avoid each other on a prompt could be worth more than as many independent ones: not claimed.
    return min(share * (1.0 - share) / variance, float(d_P.sum()))
