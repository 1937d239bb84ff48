"""Derivatives by differences: what no automatic differentiation can detach, mask or forget."""

from collections.abc import Callable, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]
Loss = Callable[[Arrays], float]


def along(loss: Loss, params: Arrays, direction: Arrays, step: float = 1e-5) -> float:
    """The derivative of the loss along a direction (names left out stand still), to O(step²)."""

    def at(distance: float) -> float:
        return loss({k: v + distance * direction[k] if k in direction else v for k, v in params.items()})

    return (at(step) - at(-step)) / (2 * step)


def gradient(loss: Loss, params: Arrays, step: float = 1e-5) -> dict[str, np.ndarray]:
    """Every partial derivative, one at a time."""
    found = {}
    for name, value in params.items():
        grad = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            unit = np.zeros(value.shape)
            unit[index] = 1.0
            grad[index] = along(loss, params, {name: unit}, step)
        found[name] = grad
    return found
