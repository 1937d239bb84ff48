"""Scores written as text, read back and compared with the data's scores."""

import re
from collections.abc import Sequence

import numpy as np

SCORE = re.compile(r"Score:\s*([0-9]+(?:\.[0-9]+)?)/10")
"""How a written score looks; the first match in a text counts."""


def parse_score(text: str) -> float | None:
    """Give the score that a text states, or None where it states none."""
    found = SCORE.search(text)
    return float(found.group(1)) if found else None


def mean_absolute_error(written: Sequence[float], true: Sequence[float]) -> float:
    """Give mean |written − true|.

    Raises:
        ValueError: the lengths differ or there is nothing to compare.
    """
    _check(written, true, 1)
    return float(np.mean(np.abs(np.asarray(written, np.float64) - np.asarray(true, np.float64))))


def spearman(written: Sequence[float], true: Sequence[float]) -> float | None:
    """Give Spearman's rank correlation: Pearson's correlation of ranks, equal values sharing their mean rank.

    Returns:
        A number in [−1, 1]; None where all values of one side are equal, so that no order exists.

    Raises:
        ValueError: the lengths differ or there are fewer than two values.
    """
    _check(written, true, 2)
    a, b = (ranks(np.asarray(x, np.float64)) for x in (written, true))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size else None


def ranks(values: np.ndarray) -> np.ndarray:
    """Give ranks from 1 (fp64), equal values sharing the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[inverse]


def _check(a: Sequence[float], b: Sequence[float], least: int) -> None:
    if len(a) != len(b) or len(a) < least:
        raise ValueError(f"expected two equally long lists of at least {least}, got {len(a)} and {len(b)}")
