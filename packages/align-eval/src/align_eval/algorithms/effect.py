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
        student_t: The same with one pooled variance: narrower, and right only if both groups spread alike.
        reason: Why some of the numbers are None; None when all exist.
    """

    difference: float | None
    cohens_d: float | None = None
    cohens_d_interval: Interval | None = None
    hedges_g: float | None = None
    hedges_g_interval: Interval | None = None
    welch_t: float | None = None
    welch_df: float | None = None
    welch_p: float | None = None
    welch_interval: Interval | None = None
    student_t: float | None = None
    student_df: float | None = None
    student_p: float | None = None
    student_interval: Interval | None = None
    reason: str | None = None


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


def _welch(a_N: np.ndarray, b_M: np.ndarray) -> tuple[float, float]:
    """Welch's standard error of the difference, and its degrees of freedom by Welch–Satterthwaite."""
    va, vb = a_N.var(ddof=1) / a_N.size, b_M.var(ddof=1) / b_M.size
    share = va / (va + vb)
    return math.sqrt(va + vb), float(1.0 / (share**2 / (a_N.size - 1) + (1.0 - share) ** 2 / (b_M.size - 1)))


def _t_test(difference: float, error: float, df: float, confidence: float) -> tuple[float, float, float, Interval]:
    """t, df, two-sided p and interval of a difference with that standard error."""
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
        Cohen (1988) for d; Hedges (1981) for g; Student (1908); Welch (1947), "The generalization of 'Student's'
        problem when several different population variances are involved"; the interval of d is the non-central t
        interval divided by sqrt(n₁n₂/(n₁+n₂)).
    """
    a_N, b_M = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not (np.isfinite(a_N).all() and np.isfinite(b_M).all()):
        raise ValueError("effect: expected finite numbers in both groups")
    difference = float(a_N.mean() - b_M.mean()) if a_N.size and b_M.size else None
    if a_N.size < 2 or b_M.size < 2:
        return Effect(difference, reason=f"needs two seeds or more in each group, got {a_N.size} and {b_M.size}")
    # Spread of the size of rounding (all values equal, but 1e-17 apart in the mean) counts as none.
    scale = max(float(np.abs(a_N).max()), float(np.abs(b_M).max()), 1e-300)
    if max(float(np.ptp(a_N)), float(np.ptp(b_M))) <= 1e-12 * scale:
        return Effect(
            difference, reason="no seed differs from another within either group, so there is no spread to divide by"
        )
    assert difference is not None
    df = int(a_N.size + b_M.size - 2)
    sd = pooled_sd(first, second)
    d = difference / sd
    root = math.sqrt(a_N.size * b_M.size / (a_N.size + b_M.size))
    low, high = noncentral_t_interval(d * root, df, confidence)
    j = hedges_correction(df)
    welch_t, welch_df, welch_p, welch_interval = _t_test(difference, *_welch(a_N, b_M), confidence)
    student_t, student_df, student_p, student_interval = _t_test(difference, sd / root, df, confidence)
    return Effect(
        difference=difference,
        cohens_d=d,
        cohens_d_interval=(low / root, high / root),
        hedges_g=j * d,
        hedges_g_interval=(j * low / root, j * high / root),
        welch_t=welch_t,
        welch_df=welch_df,
        welch_p=welch_p,
        welch_interval=welch_interval,
        student_t=student_t,
        student_df=student_df,
        student_p=student_p,
        student_interval=student_interval,
    )
