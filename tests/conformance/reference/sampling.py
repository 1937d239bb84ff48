"""Draws that depend on their place alone, in whole numbers, and the inverse of a cumulative distribution.

Source of the mixing: SplitMix64, Steele, Lea & Flood, OOPSLA 2014.
"""

import numpy as np

GOLDEN, WORD = 0x9E3779B97F4A7C15, 2**64 - 1


def mix(z: int) -> int:
    """SplitMix64's finaliser."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & WORD
    return z ^ (z >> 31)


def uniform(seed: int, *place: int) -> float:
    """The number in [0, 1) of a place: each coordinate moves the state by (coordinate + 1) golden steps and mixes."""
    state = mix((seed + GOLDEN) & WORD)
    for coordinate in place:
        state = mix((state + (coordinate + 1) * GOLDEN) & WORD)
    return (state >> 40) / 2**24


def token(probabilities: np.ndarray, u: float) -> int:
    """The first token whose cumulative probability exceeds u."""
    total = 0.0
    for i, p in enumerate(probabilities):
        total += p
        if total > u:
            return i
    return len(probabilities) - 1
