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
    return score_interval(successes / trials, trials, NormalDist().inv_cdf(0.5 + confidence / 2.0))


def score_interval(rate: float, trials: float, quantile: float) -> tuple[float, float]:
    """The rates that a score test does not reject: the π with |rate − π| ≤ quantile·sqrt(π(1 − π)/trials).

    Args:
        rate: Observed share, in [0, 1].
        trials: Number of trials that it is worth, above 0; need not be whole.
        quantile: Of the normal or of Student's t.

    Returns:
        (low, high), both in [0, 1].
    """
    square = quantile * quantile / trials
    centre = (rate + square / 2.0) / (1.0 + square)
    half = math.sqrt(rate * (1.0 - rate) * square + square * square / 4.0) / (1.0 + square)
    # The bounds at 0 % and 100 % are exactly 0 and 1; rounding would leave 1e-17 there.
    low = 0.0 if rate == 0.0 else max(0.0, centre - half)
    high = 1.0 if rate == 1.0 else min(1.0, centre + half)
    return low, high
