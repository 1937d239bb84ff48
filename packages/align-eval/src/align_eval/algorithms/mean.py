"""Means with Student-t intervals, of one sample, of paired differences and of shares grouped by prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from align_eval.algorithms.wilson import wilson


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

    Runs share the prompts and the baseline's answers, so their outcomes on one prompt go together
    and a binomial interval over all pairs would be too narrow. With w_i wins of d_i decided pairs on
    prompt i, p = Σw/Σd and its variance is G/(G−1)·Σ(w_i − p·d_i)² / (Σd)², the linearised variance of
    a ratio over the G prompts with d_i > 0.

    Args:
        wins: Wins a prompt, over the runs.
        decided: Decided pairs a prompt, over the runs; 0 leaves the prompt out.
        confidence: Two-sided coverage, inside (0, 1).

    Returns:
        (p, interval clipped to [0, 1]). Where no prompt differs from another the variance would be 0 and say too much:
        then the interval is Wilson's over the prompts for a share of 0 or 1, and None for any other.

    Raises:
        ValueError: If the lengths differ, a count is out of range, or nothing is decided.

    Source:
        Cochran (1977), "Sampling Techniques", ratio estimates (2.46) for whole clusters.
    """
    w_P = np.asarray(wins, dtype=np.float64)
    d_P = np.asarray(decided, dtype=np.float64)
    if w_P.shape != d_P.shape or w_P.ndim != 1:
        raise ValueError(f"clustered_share: expected two equal flat lists, got {w_P.shape} and {d_P.shape}")
    if (w_P < 0).any() or (w_P > d_P).any() or d_P.sum() <= 0:
        raise ValueError("clustered_share: expected 0 <= wins <= decided and at least one decided pair")
    w_P, d_P = w_P[d_P > 0], d_P[d_P > 0]
    share = float(w_P.sum() / d_P.sum())
    groups = int(d_P.size)
    if share in (0.0, 1.0):
        return share, wilson(round(share) * groups, groups, confidence)
    squares = float(((w_P - share * d_P) ** 2).sum())
    if not squares:
        return share, None
    variance = groups / (groups - 1) * squares / float(d_P.sum()) ** 2
    half = float(stats.t.ppf(0.5 + confidence / 2.0, groups - 1)) * math.sqrt(variance)
    return share, (max(0.0, share - half), min(1.0, share + half))
