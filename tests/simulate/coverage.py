"""How often each interval holds the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from align_eval.algorithms import bootstrap
from align_eval.algorithms.crossed import Contrast, contrast
from simulate.world import Studies, World, draw

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Coverage:
    """Shares of studies whose 95 % interval holds the truth.

    Attributes:
        primary: Student's t on seed means, widened by what prompts add; truth: any seeds, any prompts.
        seed_means: Student's or Welch's t on seed means; the same truth.
        seed_means_here: The same interval; truth: any seeds, just these prompts.
        pooled: Student's t with one pooled variance, of a difference; truth: any seeds, any prompts.
        bootstrap: Percentiles of the paired hierarchical bootstrap; the same truth.
    """

    primary: float
    seed_means: float
    seed_means_here: float
    pooled: float | None
    bootstrap: float | None


def cover(world: World, studies: int, key: int, replicates: int) -> tuple[Coverage, Coverage]:
    """Measure the coverage of a method's win rate, and of the difference of two.

    Args:
        world: The truth and the design.
        studies: How many to draw.
        key: Of the generator.
        replicates: Of the bootstrap; 0 leaves it out.

    Returns:
        (of the first method's win rate, of the difference).
    """
    hits: list[list[list[Array]]] = [[], []]
    for number, chunk in enumerate(draw(world, studies, key)):
        resampled = _resampled(world, chunk, replicates, (key, number))
        pairs = ((1.0,), (world.win_rates[0],)), ((1.0, -1.0), (world.difference,))
        for found, (coefficients, (truth,)), copies in zip(hits, pairs, resampled, strict=True):
            found.append(_hits(world, chunk, coefficients, truth, copies))
    one, two = (
        [None if column[0] is None else float(np.concatenate(column).mean()) for column in zip(*found, strict=True)]
        for found in hits
    )
    return Coverage(*one), Coverage(*two)


def _hits(world: World, chunk: Studies, coefficients: Sequence[float], truth: float, copies: Array | None) -> list[Any]:
    """For each interval of `Coverage`, whether it holds the truth, a study; None for one that does not exist."""
    tables = chunk.wins[: len(coefficients)]
    found = contrast(tables, coefficients, world.strata_P)
    here = np.asarray(sum(k * rate for k, rate in zip(coefficients, chunk.on_prompts, strict=False)))
    return [
        _holds(found.interval(), truth),
        _holds(found.on_these_prompts.interval(), truth),
        _holds(found.on_these_prompts.interval(), here),
        _holds(_pooled(found, world.seeds), truth) if len(tables) == 2 else None,
        None if copies is None else _holds(bootstrap.percentiles(copies), truth),
    ]


def _holds(interval: tuple[Array, Array], truth: float | Array) -> Array:
    return (interval[0] <= truth) & (truth <= interval[1])


def _pooled(found: Contrast, seeds: int) -> tuple[Array, Array]:
    """Student's interval with a pooled variance; for equal numbers of seeds only its degrees of freedom differ."""
    half = stats.t.ppf(0.975, 2 * seeds - 2) * np.sqrt(found.seed_variance)
    return found.value - half, found.value + half


def _resampled(world: World, chunk: Studies, replicates: int, key: tuple[int, int]) -> tuple[Any, Any]:
    """Replicates (N, B) of the first method's mean and of the difference; all studies share one set of draws."""
    if not replicates:
        return None, None
    draws = bootstrap.draw((world.seeds,) * 2, world.strata_P, paired=True, replicates=replicates, key=key)
    first, second = bootstrap.means(chunk.wins, draws)
    return first, first - second
