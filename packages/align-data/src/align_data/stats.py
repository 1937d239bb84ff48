"""Small statistics of a data card: histograms and summaries of scores and lengths."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LENGTH_EDGES = (0, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Lower edges of the length bins, in words; the last bin is open."""


def words(text: str) -> int:
    """Count the words of a text.

    Args:
        text: any text.

    Returns:
        How many runs of other characters than blanks it has.
    """
    return len(text.split())


def summary(values: Iterable[float]) -> dict[str, float]:
    """Describe numbers in five figures.

    Args:
        values: finite numbers.

    Returns:
        n, mean, median, p90 and max (percentiles by nearest rank); only n when there are none.
    """
    ordered = sorted(values)
    count = len(ordered)
    if not count:
        return {"n": 0}

    def percentile(share: float) -> float:
        return ordered[max(math.ceil(share * count), 1) - 1]

    return {
        "n": count,
        "mean": round(math.fsum(ordered) / count, 4),
        "median": percentile(0.5),
        "p90": percentile(0.9),
        "max": ordered[-1],
    }


def histogram(values: Iterable[float], edges: Sequence[float]) -> list[int]:
    """Count numbers in bins given by their lower edges.

    Args:
        values: finite numbers, none below the first edge.
        edges: rising lower edges; the last bin has no upper one.

    Returns:
        One count for each edge.
    """
    counts = [0] * len(edges)
    for value in values:
        counts[max(bisect_right(edges, value) - 1, 0)] += 1
    return counts


def score_edges(values: Sequence[float]) -> list[float]:
    """Choose score bins: whole points for scores out of 10, otherwise ten equal bins over the range.

    Args:
        values: all scores that will be counted.

    Returns:
        Rising lower edges.
    """
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low >= 0 and 2 < high <= 10:
        return [float(point) for point in range(math.floor(low), max(math.ceil(high), math.floor(low) + 1))]
    width = (high - low) / 10
    return [round(low + place * width, 6) for place in range(10)] if width > 0 else [low]


def pair_statistics(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Describe preference pairs: scores, lengths and how often the longer answer is the preferred one.

    Args:
        pairs: rows of `pairs/*.jsonl`.

    Returns:
        JSON-able: `scores` and `words`, each {edges, top (upper edge of the last
        bin), histograms, summaries}, and `chosen_longer`, the share of
        pairs whose preferred answer has more words (None without pairs).
    """
    scores = {name: [row[f"score_{name}"] for row in pairs] for name in ("chosen", "rejected")}
    edges = score_edges(scores["chosen"] + scores["rejected"])
    margins = [good - bad for good, bad in zip(scores["chosen"], scores["rejected"], strict=True)]
    lengths = {name: [words(row[name]) for row in pairs] for name in ("chosen", "rejected")}
    prompts = {row["prompt_id"]: words(row["prompt"]) for row in pairs}
    longer = sum(good > bad for good, bad in zip(lengths["chosen"], lengths["rejected"], strict=True))
    sizes = {"prompt": list(prompts.values()), **lengths}
    return {
        "scores": {
            "edges": edges,
            "top": edges[-1] + (edges[1] - edges[0] if len(edges) > 1 else 0.0),
            "histograms": {name: histogram(values, edges) for name, values in scores.items()},
            "summaries": {
                name: summary(round(value, 6) for value in values)
                for name, values in {**scores, "margin": margins}.items()
            },
        },
        "words": {
            "edges": list(LENGTH_EDGES),
            "top": None,
            "histograms": {name: histogram(values, LENGTH_EDGES) for name, values in sizes.items()},
            "summaries": {name: summary(values) for name, values in sizes.items()},
        },
        "chosen_longer": round(longer / len(pairs), 4) if pairs else None,
    }
