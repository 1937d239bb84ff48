"""Gradients against finite differences of the reference."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from conformance.reference import finite_differences
from conformance.reference.finite_differences import Loss
from conformance.specimen import float64

TOLERANCE = 1e-4
"""Most error of a slope along a unit direction, as a share of the tensor's gradient norm."""


def assert_gradients(
    found: Mapping[str, Any], loss: Loss, params: Mapping[str, np.ndarray], tolerance: float = TOLERANCE
) -> None:
    """Compare the gradient of every tensor with the loss's slope along a random direction in that tensor.

    A wrong gradient has the right slope along a random direction with probability 0. Where the reference's slopes say
    that a tensor has no gradient, the found one must be zero too, as far as the largest of all can tell.
    """
    assert sorted(found) == sorted(params)
    rng = np.random.default_rng(0)
    grads = float64(found)
    largest = max(np.linalg.norm(g) for g in grads.values())
    assert largest > 0
    for name, grad in grads.items():
        direction = rng.normal(size=grad.shape)
        direction /= np.linalg.norm(direction)
        found_slope, slope = (grad * direction).sum(), finite_differences.along(loss, params, {name: direction})
        allowed = tolerance * max(np.linalg.norm(grad), 1e-3 * largest)
        assert abs(found_slope - slope) <= allowed, f"{name}: {found_slope:.8g}, finite differences {slope:.8g}"
