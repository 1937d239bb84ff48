"""The paired hierarchical bootstrap: seeds and prompts both drawn again, prompts within their category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Draws:
    """How often each seed and each prompt was drawn, in each of B replicates.

    Whole numbers, so that sums of wins and halves are exact: every machine gets the same replicates to the last bit.

    Attributes:
        seeds: One array (S, B) of counts a method, each column adding up to S.
        prompts_PB: Counts (P, B) of the prompts, each column adding up to P; the same for all methods.
    """

    seeds: tuple[Array, ...]
    prompts_PB: Array


def draw(
    seeds: Sequence[int], strata_P: Sequence[Any] | Array, *, paired: bool, replicates: int, key: Sequence[int]
) -> Draws:
    """Draw seeds and prompts with replacement.

    Args:
        seeds: Number of seeds of each method.
        strata_P: Category of each prompt; each category keeps its number of prompts.
        paired: Whether seed s is the same one in every method: then all methods get the same draw.
        replicates: B, at least 1.
        key: Key of the generator; equal keys give equal draws.

    Returns:
        The draws.

    Raises:
        ValueError: If a count is not positive, or seeds are paired but not equally many.

    Source:
        Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice", section 4.1, for
        the stratified bootstrap over runs; Davison & Hinkley (1997), section 3.8, for both levels.
    """
    labels_P = np.asarray(strata_P)
    if replicates < 1 or not seeds or min(seeds) < 1 or labels_P.size < 1 or (paired and len(set(seeds)) > 1):
        raise ValueError(
            "bootstrap: expected seeds, prompts and replicates, and as many seeds in each method if they are paired; "
            f"got seeds {tuple(seeds)}, {labels_P.size} prompts, {replicates} replicates, paired={paired}"
        )
    rng = np.random.default_rng(list(key))
    first = _counts(rng, seeds[0], replicates)
    by_method = (first, *(first if paired else _counts(rng, count, replicates) for count in seeds[1:]))
    prompts_PB = np.empty((labels_P.size, replicates))
    for label in np.unique(labels_P):
        members = np.flatnonzero(labels_P == label)
        prompts_PB[members] = _counts(rng, members.size, replicates)
    return Draws(by_method, prompts_PB)


def _counts(rng: np.random.Generator, count: int, replicates: int) -> Array:
    """(count, B): how often each of `count` things comes up in `count` draws."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=replicates).T.astype(np.float64)


def means(outcomes: Sequence[Array], draws: Draws) -> list[Array]:
    """Mean of each method in each replicate.

    Args:
        outcomes: One array (…, S, P) a method.
        draws: The draws.

    Returns:
        One array (…, B) a method; take differences replicate by replicate.
    """
    return [
        ((table @ draws.prompts_PB.astype(table.dtype)) * seeds_SB).sum(axis=-2) / (table.shape[-2] * table.shape[-1])
        for table, seeds_SB in zip(outcomes, draws.seeds, strict=True)
    ]


def percentiles(replicates_B: Array, confidence: float = 0.95) -> tuple[Array, Array]:
    """The middle part of the replicates, along the last axis.

    Describes the data; with few seeds it is no confidence interval. Seeds drawn again spread by (S − 1)/S of what their
    mean's variance is estimated to be, and where a normal's percentiles lie at 1.96 standard errors, Student's t for 3
    seeds lies at 4.3.

    Args:
        replicates_B: (…, B).
        confidence: Share of replicates inside, inside (0, 1).

    Returns:
        (low, high).

    Source:
        Efron (1979), "Bootstrap methods: another look at the jackknife".
    """
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates_B, [tail, 1.0 - tail], axis=-1)
    return low, high
