"""Wilson's score interval for a share of successes."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a binomial rate that stays inside [0, 1] and behaves at 0 % and 100 %.

    With p = successes / trials and z the normal quantile of the confidence,
    centre = (p + z²/2n) / (1 + z²/n), half width = z·sqrt(p(1−p)/n + z²/4n²) / (1 + z²/n).

    Args:
        successes: Number of successes, 0 ≤ successes ≤ trials.
        trials: Number of trials, at least 1.
        confidence: Two-sided coverage, inside (0, 1).

    Returns:
        (low, high), both in [0, 1].

    Raises:
        ValueError: If the counts or the confidence are out of range.

    Source:
        Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"wilson: expected 0 <= successes <= trials and trials >= 1, got {successes}/{trials}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"wilson: expected a confidence inside (0, 1), got {confidence}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    rate = successes / trials
    shrink = 1.0 + z * z / trials
    centre = (rate + z * z / (2.0 * trials)) / shrink
    half = z * math.sqrt(rate * (1.0 - rate) / trials + z * z / (4.0 * trials * trials)) / shrink
    # The bounds at 0 and n are exactly 0 and 1; rounding would leave 1e-17 there.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high
