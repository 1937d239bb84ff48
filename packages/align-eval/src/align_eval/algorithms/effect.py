"""How far apart two small groups are: Cohen's d, Hedges' g, Welch's t, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from align_eval.algorithms.noncentral import noncentral_t_interval

Interval = tuple[float, float]


@dataclass(frozen=True)
class Effect:
    """Difference of two groups, first minus second. A number that does not exist is None.

    Attributes:
        difference: mean(first) − mean(second).
        cohens_d: difference / pooled sd; with its interval from the non-central t distribution.
        hedges_g: d times the exact small-sample correction; with the interval of d corrected alike.
        welch_t: Welch's statistic, with df degrees of freedom, two-sided p, interval of the difference.
        reason: Why some of the numbers are None; None when all exist.
    """

    difference: float | None
    cohens_d: float | None
    cohens_d_interval: Interval | None
    hedges_g: float | None
    hedges_g_interval: Interval | None
    welch_t: float | None
    welch_df: float | None
    welch_p: float | None
    welch_interval: Interval | None
    reason: str | None


def pooled_sd(first: Sequence[float], second: Sequence[float]) -> float:
    """Pooled standard deviation sqrt(((n₁−1)s₁² + (n₂−1)s₂²) / (n₁+n₂−2)).

    Args:
        first: One group, at least one value.
        second: The other group; together at least three values.

    Returns:
        The pooled sd.

    Raises:
        ValueError: If there are too few values.

    Source:
        Cohen (1988), "Statistical Power Analysis for the Behavioral Sciences", (2.5.2).
    """
    a_N, b_M = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a_N.size < 1 or b_M.size < 1 or a_N.size + b_M.size < 3:
        raise ValueError(f"pooled_sd: expected three values or more in two groups, got {a_N.size} and {b_M.size}")
    squares = float(((a_N - a_N.mean()) ** 2).sum() + ((b_M - b_M.mean()) ** 2).sum())
    return math.sqrt(squares / (a_N.size + b_M.size - 2))


def hedges_correction(df: int) -> float:
    """The factor J(df) = Γ(df/2) / (sqrt(df/2)·Γ((df−1)/2)) that makes d unbiased.

    Args:
        df: Degrees of freedom n₁ + n₂ − 2, at least 2.

    Returns:
        A number in (0, 1); 0.798 for three and three values.

    Raises:
        ValueError: If df < 2.

    Source:
        Hedges (1981), "Distribution theory for Glass's estimator of effect size", (6e).
    """
    if df < 2:
        raise ValueError(f"hedges_correction: expected df >= 2, got {df}")
    return math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)


def _welch(a_N: np.ndarray, b_M: np.ndarray, confidence: float) -> tuple[float, float, float, Interval] | None:
    """Welch's t, df, two-sided p and interval of the difference; None when neither group has spread."""
    va, vb = a_N.var(ddof=1) / a_N.size, b_M.var(ddof=1) / b_M.size
    if va + vb <= 0.0:
        return None
    difference, error = float(a_N.mean() - b_M.mean()), math.sqrt(va + vb)
    df = float((va + vb) ** 2 / (va**2 / (a_N.size - 1) + vb**2 / (b_M.size - 1)))
    t = difference / error
    half = float(stats.t.ppf(0.5 + confidence / 2.0, df)) * error
    return t, df, float(2.0 * stats.t.sf(abs(t), df)), (difference - half, difference + half)


def effect(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Effect:
    """All effect sizes of first − second.

    Args:
        first: Values of one group, one a seed.
        second: Values of the other group.
        confidence: Two-sided coverage of every interval.

    Returns:
        The effect; with fewer than two values in a group, or no spread in either, the numbers that
        would need a division by zero are None and `reason` says so.

    Raises:
        ValueError: If a value is not finite.

    Source:
        Cohen (1988) for d; Hedges (1981) for g; Welch (1947), "The generalization of Student's problem"; the
        interval of d is the non-central t interval divided by sqrt(n₁n₂/(n₁+n₂)).
    """
    a_N, b_M = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not (np.isfinite(a_N).all() and np.isfinite(b_M).all()):
        raise ValueError("effect: expected finite numbers in both groups")
    difference = float(a_N.mean() - b_M.mean()) if a_N.size and b_M.size else None
    if a_N.size < 2 or b_M.size < 2:
        return _nothing(difference, f"needs two seeds or more in each group, got {a_N.size} and {b_M.size}")
    # Spread of the size of rounding (all values equal, but 1e-17 apart in the mean) counts as none.
    scale = max(float(np.abs(a_N).max()), float(np.abs(b_M).max()), 1e-300)
    if max(float(np.ptp(a_N)), float(np.ptp(b_M))) <= 1e-12 * scale:
        return _nothing(
            difference, "no seed differs from another within either group, so there is no spread to divide by"
        )
    assert difference is not None
    df = int(a_N.size + b_M.size - 2)
    d = difference / pooled_sd(first, second)
    root = math.sqrt(a_N.size * b_M.size / (a_N.size + b_M.size))
    low, high = noncentral_t_interval(d * root, df, confidence)
    j = hedges_correction(df)
    welch = _welch(a_N, b_M, confidence)
    t, welch_df, p, interval = welch if welch is not None else (None, None, None, None)
    return Effect(
        difference=difference,
        cohens_d=d,
        cohens_d_interval=(low / root, high / root),
        hedges_g=j * d,
        hedges_g_interval=(j * low / root, j * high / root),
        welch_t=t,
        welch_df=welch_df,
        welch_p=p,
        welch_interval=interval,
        reason=None,
    )


def _nothing(difference: float | None, reason: str) -> Effect:
    """An effect of which at most the difference is known."""
    return Effect(difference, None, None, None, None, None, None, None, None, reason)
