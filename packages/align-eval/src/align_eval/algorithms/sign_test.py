"""The exact sign test: do positive and negative differences come equally often?"""

from __future__ import annotations

import math


def sign_test(positive: int, negative: int) -> float:
    """Two-sided p-value of the sign test; differences of zero are left out beforehand.

    Args:
        positive: How many differences are positive.
        negative: How many are negative.

    Returns:
        min(1, 2·P(X ≤ min(positive, negative))) for X ~ Binomial(positive + negative, ½); 1 without any.

    Raises:
        ValueError: A count is negative.

    Source:
        Arbuthnott (1710); Conover, "Practical Nonparametric Statistics", 3.4.
    """
    if positive < 0 or negative < 0:
        raise ValueError(f"sign_test: expected counts of 0 or more, got {positive} and {negative}")
    n = positive + negative
    tail = sum(math.comb(n, k) for k in range(min(positive, negative) + 1))
    return min(1.0, 2 * tail / 2**n)
