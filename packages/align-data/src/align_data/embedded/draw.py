"""Random draws that give the same bytes on every Python.

Only ``random.Random.random()`` is promised to stay the same between Python versions, so everything here is
built on it: no ``choice``, ``shuffle``, ``sample`` or ``gauss``.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(rng: Random, options: Sequence[T]) -> T:
    """Return one of ``options``, each equally likely."""
    return options[int(rng.random() * len(options))]


def chance(rng: Random, probability: float) -> bool:
    """Return True with the given ``probability`` (always uses one draw)."""
    return rng.random() < probability


def shuffled(rng: Random, options: Sequence[T]) -> list[T]:
    """Return ``options`` in a random order (Fisher-Yates), leaving the original alone."""
    result = list(options)
    for i in range(len(result) - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        result[i], result[j] = result[j], result[i]
    return result


def several(rng: Random, options: Sequence[T], count: int) -> list[T]:
    """Return ``count`` different ``options`` in random order."""
    return shuffled(rng, options)[:count]


def bell(rng: Random, deviation: float) -> float:
    """Return a nearly normal number of mean 0 and the given standard ``deviation``.

    The sum of 12 uniform draws less 6 has mean 0 and variance 1 (Irwin-Hall); it needs no transcendental
    function, and so is the same on every machine.
    """
    return (sum(rng.random() for _ in range(12)) - 6.0) * deviation
