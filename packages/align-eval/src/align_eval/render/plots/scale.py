"""Scales and round tick marks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from align_eval.render.text import fixed


@dataclass(frozen=True)
class Scale:
    """A straight map from numbers to points.

    Attributes:
        low: Number at `start`.
        high: Number at `end`; above `low`.
        start: Points at `low`.
        end: Points at `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between two numbers, at most so many.

    Args:
        low: Lower end.
        high: Upper end, above `low`.
        most: Largest number of ticks.

    Returns:
        The ticks, rising.
    """
    power = 10.0 ** (math.floor(math.log10((high - low) / most)))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [round(n * step, 12) for n in range(first, last + 1)]
    raise AssertionError("one of six steps over two powers of ten fits")


def labels(at: list[float], percent: bool = False) -> list[str]:
    """Ticks as texts with the decimals that their distance calls for."""
    if percent:
        return [f"{100 * tick:.0f} %" for tick in at]
    step = min((b - a for a, b in pairwise(at)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [fixed(tick, digits) for tick in at]


def extent(values: Iterable[float], *, zero: bool = False, pad: float = 0.06) -> tuple[float, float]:
    """The range of numbers with a margin; never empty.

    Args:
        values: Any numbers.
        zero: Whether 0 belongs to it; a range that begins there gets no margin below.
        pad: Margin as a share of the range.
    """
    known = [*values, *([0.0] if zero else [])] or [0.0, 1.0]
    low, high = min(known), max(known)
    margin = pad * (high - low) or 0.05 * abs(high) or 1.0
    return low if zero and low == 0.0 else low - margin, high + margin
