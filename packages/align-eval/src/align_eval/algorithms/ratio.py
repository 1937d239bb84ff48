"""A ratio of sums with its standard error, such as nats a token over answers of different length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def ratio_of_sums(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float | None]:
    """R = Σy/Σx over clusters, with the linearised standard error √(G/(G−1)·Σ(y_i − R·x_i)²)/Σx.

    Args:
        numerators: y of each of G clusters, such as the KL of an answer in nats.
        denominators: x of each, such as its tokens; none negative, and not all 0.

    Returns:
        (R, standard error); the error is None for one cluster.

    Raises:
        ValueError: The lengths differ, a number is not finite, or the denominators do not allow a division.

    Source:
        Cochran (1977), "Sampling Techniques", (2.46).
    """
    y_G, x_G = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if y_G.shape != x_G.shape or y_G.ndim != 1 or not (np.isfinite(y_G).all() and np.isfinite(x_G).all()):
        raise ValueError(f"ratio_of_sums: expected two equal flat lists of numbers, got {y_G.shape} and {x_G.shape}")
    if (x_G < 0).any() or x_G.sum() <= 0:
        raise ValueError("ratio_of_sums: expected denominators of 0 or more with a positive sum")
    ratio = float(y_G.sum() / x_G.sum())
    if y_G.size == 1:
        return ratio, None
    squares = float(((y_G - ratio * x_G) ** 2).sum())
    return ratio, math.sqrt(y_G.size / (y_G.size - 1) * squares) / float(x_G.sum())
