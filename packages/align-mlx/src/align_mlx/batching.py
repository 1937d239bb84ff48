"""Batches of sequences: right-padded ids whose lengths come from few buckets, so that nothing recompiles.

A right-padded batch under a causal mask needs no padding mask: no real token can see the padding after it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from align_mlx.chat import Tokens

BUCKET = 16
"""Padded lengths are multiples of this many tokens."""


@dataclass(frozen=True)
class Batch:
    """Sequences of prompt and response, right-padded.

    Attributes:
        tokens_BL: int32 ids.
        starts_B: prompt lengths: the index of the first response token.
        mask_BT: 1 for a response token, else 0 (fp32); T is the padded response length.
    """

    tokens_BL: mx.array
    starts_B: mx.array
    mask_BT: mx.array

    @property
    def lengths_B(self) -> mx.array:
        """Response lengths in tokens (int32)."""
        return self.mask_BT.sum(axis=1).astype(mx.int32)

    @property
    def positions_BT(self) -> mx.array:
        """Index in L of the state that predicts response token t: start − 1 + t, clamped to the sequence."""
        steps = mx.arange(self.mask_BT.shape[1])
        return mx.minimum(self.starts_B[:, None] - 1 + steps, self.tokens_BL.shape[1] - 1)

    @property
    def targets_BT(self) -> mx.array:
        """The response ids; where the mask is 0 they are meaningless but valid ids."""
        last = self.tokens_BL.shape[1] - 1
        return mx.take_along_axis(self.tokens_BL, mx.minimum(self.positions_BT + 1, last), axis=1)


def bucket(length: int, size: int = BUCKET) -> int:
    """Round a length up to a multiple of `size`, at least one bucket."""
    return max(size, -(-length // size) * size)


def pad(rows: Sequence[Tokens], pad_token: int = 0) -> Batch:
    """Make a batch of token rows; both L and T are rounded up to buckets."""
    width = bucket(max(len(r) for r in rows))
    steps = bucket(max(len(r.response) for r in rows))
    tokens = np.full((len(rows), width), pad_token, np.int32)
    mask = np.zeros((len(rows), steps), np.float32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row.ids
        mask[i, : len(row.response)] = 1
    starts = np.array([len(r.prompt) for r in rows], np.int32)
    return Batch(mx.array(tokens), mx.array(starts), mx.array(mask))


def gather(values_BLD: mx.array, positions_BT: mx.array) -> mx.array:
    """Pick rows of the middle axis: [B, L, D] at [B, T] → [B, T, D]."""
    return mx.take_along_axis(values_BLD, positions_BT[:, :, None], axis=1)


def by_length(rows: Sequence[Tokens], token_budget: int) -> Iterator[list[int]]:
    """Yield index groups of similar length whose padded size stays within a token budget (one row at least).

    Args:
        rows: the sequences.
        token_budget: the most padded tokens (rows × bucketed length) of one group.
    """
    group: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: (len(rows[i]), i)):
        if group and (len(group) + 1) * bucket(len(rows[index])) > token_budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
