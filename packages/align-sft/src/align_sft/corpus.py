"""The lines of a corpus in batches, in an order that the seed alone decides."""

from collections.abc import Iterator, Sequence

import mlx.core as mx
import numpy as np

from align_mlx.batching import bucket

WIDTHS = 4
"""Padded lengths are multiples of this many tokens."""

Lines = Sequence[Sequence[int]]
"""Token ids of each line."""


def batches(lines: Lines, batch_tokens: int, key: mx.array) -> Iterator[list[int]]:
    """Yield batches of lines of similar length for ever, in an order drawn from `key`.

    Nothing is computed with the lines, so a run that goes on passes over the batches it has had.

    Args:
        lines: the corpus.
        batch_tokens: padded tokens of a batch.
        key: random key; every pass over the lines has its own order.

    Yields:
        Numbers of lines that are padded to one length; all batches of a length have equally many.
    """
    waiting: dict[int, list[int]] = {}
    while True:
        key, sub = mx.random.split(key)
        for i in np.array(mx.random.permutation(len(lines), key=sub)).tolist():
            width = bucket(len(lines[i]), WIDTHS)
            group = waiting.setdefault(width, [])
            group.append(i)
            if len(group) == max(1, batch_tokens // width):
                yield waiting.pop(width)


def padded(lines: Lines, numbers: Sequence[int]) -> tuple[mx.array, mx.array]:
    """Give some lines as tokens_BL (int32, padded with 0) and lengths_B (int32)."""
    lengths = [len(lines[i]) for i in numbers]
    tokens = np.zeros((len(numbers), bucket(max(lengths), WIDTHS)), np.int32)
    for row, i in enumerate(numbers):
        tokens[row, : lengths[row]] = lines[i]
    return mx.array(tokens), mx.array(lengths)
