"""What a number of seeds can and cannot show."""

from __future__ import annotations

import math

from scipy import optimize, stats

from align_eval.algorithms.noncentral import noncentral_t_cdf


def _root_and_df(n1: int, n2: int) -> tuple[float, int]:
    """sqrt(n₁n₂/(n₁+n₂)), which turns d into t, and the degrees of freedom."""
    if n1 < 2 or n2 < 2:
        raise ValueError(f"power: expected two seeds or more in each group, got {n1} and {n2}")
    return math.sqrt(n1 * n2 / (n1 + n2)), n1 + n2 - 2


def chance_of_large_d(n1: int, n2: int, size: float = 0.8) -> float:
    """How often |d| exceeds a size although the groups do not differ at all.

    Args:
        n1: Seeds of the first method, at least 2.
        n2: Seeds of the second method, at least 2.
        size: The size of |d|.

    Returns:
        A probability: 2·P(T > size·sqrt(n₁n₂/(n₁+n₂))), T with n₁+n₂−2 degrees of freedom.

    Raises:
        ValueError: If a group has fewer than two seeds.
    """
    root, df = _root_and_df(n1, n2)
    return float(2.0 * stats.t.sf(size * root, df))


def power(d: float, n1: int, n2: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided t-test on seeds finds a true effect d.

    Args:
        d: True difference in units of the sd between seeds.
        n1: Seeds of the first method, at least 2.
        n2: Seeds of the second method, at least 2.
        alpha: Level of the test.

    Returns:
        A probability, from the non-central t distribution.

    Raises:
        ValueError: If a group has fewer than two seeds.

    Source:
        Cohen (1988), chapter 2.
    """
    root, df = _root_and_df(n1, n2)
    bound = float(stats.t.ppf(1.0 - alpha / 2.0, df))
    return 1.0 - noncentral_t_cdf(bound, df, d * root) + noncentral_t_cdf(-bound, df, d * root)


def detectable_d(n1: int, n2: int, wanted: float = 0.8, alpha: float = 0.05) -> float:
    """The true d that is found with a wanted power.

    Args:
        n1: Seeds of the first method, at least 2.
        n2: Seeds of the second method, at least 2.
        wanted: Power, inside (alpha, 1).
        alpha: Level of the test.

    Returns:
        d > 0.

    Raises:
        ValueError: If a group has fewer than two seeds.
    """
    return float(optimize.brentq(lambda d: power(d, n1, n2, alpha) - wanted, 1e-3, 100.0, xtol=1e-6))
