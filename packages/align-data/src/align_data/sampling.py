"""Seeded order and stratified sampling of prompts, independent of the order in which a source lists them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from align_data.rows import Prompt


def seeded_order(prompts: Iterable[Prompt], seed: int, purpose: str) -> list[Prompt]:
    """Shuffle prompts the same way on every machine, whatever order they arrive in.

    Prompts are sorted by sha256 of seed, purpose and normalised text. A prompt's place therefore does not
    depend on the others: adding rows to a source moves nothing else relative to one another.

    Args:
        prompts: prompts with distinct keys.
        seed: the split seed.
        purpose: a word that makes one order independent of the next.

    Returns:
        The prompts in their seeded order.
    """

    def rank(prompt: Prompt) -> bytes:
        return hashlib.sha256(f"{seed}\0{purpose}\0{prompt.key}".encode()).digest()

    return sorted(prompts, key=rank)


def score_bins(prompts: Sequence[Prompt], bins: int) -> list[list[Prompt]]:
    """Put prompts into equally wide bins of their score; the last bin includes its upper edge.

    Args:
        prompts: prompts in any order; it is kept inside each bin.
        bins: how many bins, at least 1.

    Returns:
        `bins` lists, some possibly empty.
    """
    binned: list[list[Prompt]] = [[] for _ in range(bins)]
    scores = [prompt.score for prompt in prompts]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    for prompt, score in zip(prompts, scores, strict=True):
        place = int((score - low) / (high - low) * bins) if high > low else 0
        binned[min(place, bins - 1)].append(prompt)
    return binned


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Share out `total` in proportion to `weights` by largest remainders (ties: the earlier one).

    Args:
        total: what to share, at most `sum(weights)`.
        weights: non-negative sizes.

    Returns:
        Whole numbers that add up to `total`, none above its weight; zeros when every weight is zero.

    Source:
        Hamilton's method of apportionment.
    """
    whole = sum(weights)
    if whole == 0:
        return [0] * len(weights)
    shares = [total * weight // whole for weight in weights]
    remainders = [total * weight % whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -remainders[index])
    for index in by_remainder[: total - sum(shares)]:
        shares[index] += 1
    return shares


def stratified_sample(
    prompts: Sequence[Prompt], target_rows: int, bins: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """Sample prompts so that the kept rows follow the source's distribution of `score_chosen`.

    Each bin of the prompts' score gets its proportional share of `target_rows`, filled in seeded order. A
    prompt comes with all of its rows or not at all, so a bin may end a few rows short, never above its share.

    Args:
        prompts: the pool.
        target_rows: rows wanted; the whole pool is kept when it has no more.
        bins: number of equally wide score bins.
        seed: the split seed.

    Returns:
        The sampled prompts and those left over, both in seeded order.
    """
    ordered = seeded_order(prompts, seed, "sample")
    if sum(len(prompt.rows) for prompt in ordered) <= target_rows:
        return ordered, []
    binned = score_bins(ordered, bins)
    shares = apportion(target_rows, [sum(len(prompt.rows) for prompt in members) for members in binned])
    taken: set[str] = set()
    for members, share in zip(binned, shares, strict=True):
        room = share
        for prompt in members:
            if len(prompt.rows) <= room:
                room -= len(prompt.rows)
                taken.add(prompt.key)
    sampled = [prompt for prompt in ordered if prompt.key in taken]
    return sampled, [prompt for prompt in ordered if prompt.key not in taken]
