"""Temperature scaling and expected calibration error of pairwise preferences.

With margin m = r_chosen − r_rejected the model says P(chosen preferred) = σ(m / T). Its confidence is the larger of
the two probabilities, σ(|m| / T), and it is right where m > 0. Source: Guo et al., On Calibration of Modern Neural
Networks, arXiv 1706.04599 (equations 3 and 9 for two classes).
"""

import math

import numpy as np

BINS = 15
"""Bins of equal width over confidences from 0.5 to 1."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-2, 1e2
"""Bounds of the search: pairs that are all right ask for T = 0, pairs that are all wrong for T = ∞."""


def preference_nll(margins_N: np.ndarray, temperature: float) -> float:
    """Give the mean of −log σ(m / T), nats.

    Args:
        margins_N: fp64 margins; at least one.
        temperature: T > 0.
    """
    return float(np.mean(np.logaddexp(0.0, -np.asarray(margins_N, np.float64) / temperature)))


def fit_temperature(margins_N: np.ndarray, steps: int = 100) -> float:
    """Give the temperature with the lowest `preference_nll`.

    The loss is convex in a = 1 / T, so its derivative −mean(m · σ(−a m)) changes sign once: Newton's method, kept
    inside the bracket by bisection.

    Args:
        margins_N: fp64 margins of calibration pairs; at least one.
        steps: most iterations.

    Returns:
        T within [0.01, 100].
    """
    margins = np.asarray(margins_N, np.float64)
    if margins.size == 0:
        raise ValueError("temperature: expected at least one pair, got none")
    low, high = 1.0 / MAX_TEMPERATURE, 1.0 / MIN_TEMPERATURE
    a = 1.0
    for _ in range(steps):
        wrong = np.exp(-np.logaddexp(0.0, a * margins))
        slope = -float(np.mean(margins * wrong))
        low, high = (a, high) if slope < 0 else (low, a)
        curvature = float(np.mean(margins**2 * wrong * (1.0 - wrong)))
        step = a - slope / curvature if curvature > 0 else math.inf
        following = step if low < step < high else 0.5 * (low + high)
        if abs(following - a) < 1e-12 * a:
            break
        a = following
    return 1.0 / a


def expected_calibration_error(margins_N: np.ndarray, temperature: float = 1.0, bins: int = BINS) -> float:
    """Give ECE = Σ_b n_b / N · |accuracy_b − confidence_b| over bins of equal width in [0.5, 1].

    Args:
        margins_N: fp64 margins; at least one. A margin of 0 is half right.
        temperature: T > 0.
        bins: number of bins.

    Returns:
        A share in [0, 0.5].
    """
    margins = np.asarray(margins_N, np.float64)
    if margins.size == 0:
        raise ValueError("calibration error: expected at least one pair, got none")
    confidence = 1.0 / (1.0 + np.exp(-np.abs(margins) / temperature))
    right = (margins > 0) + 0.5 * (margins == 0)
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / margins.size)
