"""Batches of sequences: right-padded ids whose lengths come from few buckets, so that nothing recompiles.

A right-padded batch under a causal mask needs no padding mask: no real token can see the padding after it. Rows that
answer the same prompt share it (`align_mlx.prefix`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from align_mlx.chat import Tokens
from align_mlx.compute import backend
from align_mlx.world import World

BUCKETS = {"cpu": 4, "metal": 16, "cuda": 16}
"""Padded lengths are multiples of this many tokens: a CPU pays for every one of them, a GPU for every new shape."""


@dataclass(frozen=True)
class Batch:
    """Sequences of prompt and response, right-padded.

    Attributes:
        tokens_BL: int32 ids.
        starts_B: prompt lengths: the index of the first response token.
        mask_BT: 1 for a response token, else 0 (fp32); T is the padded response length.
        prompts_PL: the distinct prompts, right-padded, where fewer than rows; None where nothing is shared.
        prompt_B: which of them each row answers.
    """

    tokens_BL: mx.array
    starts_B: mx.array
    mask_BT: mx.array
    prompts_PL: mx.array | None = None
    prompt_B: mx.array | None = None

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        """The arrays that are there, in order: ``Batch(*batch.arrays)`` is the batch, also in a compiled function."""
        shared = () if self.prompts_PL is None else (self.prompts_PL, self.prompt_B)
        return (self.tokens_BL, self.starts_B, self.mask_BT, *shared)

    @property
    def lengths_B(self) -> mx.array:
        """Response lengths in tokens (int32)."""
        return self.mask_BT.sum(axis=1).astype(mx.int32)

    @property
    def positions_BS(self) -> mx.array:
        """Index in L of the state before response token t, and of the one behind the last: start − 1 + t, clamped."""
        steps = mx.arange(self.mask_BT.shape[1] + 1)
        return mx.minimum(self.starts_B[:, None] - 1 + steps, self.tokens_BL.shape[1] - 1)

    @property
    def targets_BT(self) -> mx.array:
        """The response ids; where the mask is 0 they are meaningless but valid ids."""
        return mx.take_along_axis(self.tokens_BL, self.positions_BS[:, 1:], axis=1)


def bucket(length: int, size: int | None = None) -> int:
    """Round a length up to a multiple of `size`, at least one bucket; by default the backend's."""
    size = size or BUCKETS[backend()]
    return max(size, -(-length // size) * size)


def pad(rows: Sequence[Tokens], pad_token: int = 0, *, share: bool = True) -> Batch:
    """Make a batch of token rows; all widths are rounded up to buckets.

    Args:
        rows: the sequences.
        pad_token: any id.
        share: let rows read a common prompt together, where that is no more work, see `padded_size`.
    """
    tokens = _padded([row.ids for row in rows], pad_token)
    mask = _padded([(1,) * len(row.response) for row in rows], 0).astype(np.float32)
    starts = np.array([len(row.prompt) for row in rows], np.int32)
    whole = Batch(mx.array(tokens), mx.array(starts), mx.array(mask))
    apart, together = _sizes(rows)
    if not share or together is None or together > apart:
        return whole
    numbers: dict[tuple[int, ...], int] = {}
    prompt_B = [numbers.setdefault(row.prompt, len(numbers)) for row in rows]
    return replace(whole, prompts_PL=mx.array(_padded(list(numbers), pad_token)), prompt_B=mx.array(prompt_B))


def _padded(rows: Sequence[Sequence[int]], fill: int) -> np.ndarray:
    padded = np.full((len(rows), bucket(max(map(len, rows)))), fill, np.int32)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def gather(values_BLD: mx.array, positions_BS: mx.array) -> mx.array:
    """Pick rows of the middle axis: [B, L, D] at [B, S] → [B, S, D]."""
    return mx.take_along_axis(values_BLD, positions_BS[:, :, None], axis=1)


def padded_size(rows: Sequence[Tokens]) -> int:
    """Count the padded tokens of a forward pass over rows, prompts shared where that is no more."""
    apart, together = _sizes(rows)
    return apart if together is None else min(apart, together)


def _sizes(rows: Sequence[Tokens]) -> tuple[int, int | None]:
    """Count the padded tokens of rows read whole, and of prompts and answers apart; None where all prompts differ."""
    whole = len(rows) * bucket(max(map(len, rows)))
    prompts = {row.prompt for row in rows}
    if len(prompts) == len(rows):
        return whole, None
    answers = len(rows) * bucket(max(len(row.response) for row in rows))
    return whole, len(prompts) * bucket(max(map(len, prompts))) + answers


def own_rows(rows: Sequence[Tokens], world: World) -> list[int]:
    """Give the places of the rows that are this process's, ascending; rows with the same prompt stay together."""
    families: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        families.setdefault(row.prompt, []).append(i)
    longest_first = sorted(families.values(), key=lambda family: -sum(len(rows[i]) for i in family))
    return sorted(i for family in world.share(longest_first) for i in family)


def by_length(rows: Sequence[Tokens], token_budget: int) -> Iterator[list[int]]:
    """Yield index groups of similar length whose padded size stays within a token budget (one row at least).

    Rows with the same prompt stay together as long as the budget allows.

    Args:
        rows: the sequences.
        token_budget: the most padded tokens of one group, see `padded_size`.
    """
    families: dict[tuple[int, ...], list[int]] = {}
    for i in sorted(range(len(rows)), key=lambda i: (len(rows[i]), i)):
        families.setdefault(rows[i].prompt, []).append(i)
    group: list[int] = []
    for family in sorted(families.values(), key=lambda family: len(rows[family[-1]])):
        fits = padded_size([rows[i] for i in family]) <= token_budget
        for unit in [family] if fits else [[i] for i in family]:
            if group and padded_size([rows[i] for i in group + unit]) > token_budget:
                yield group
                group = []
            group += unit
    if group:
        yield group
