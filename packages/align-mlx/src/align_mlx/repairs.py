"""What mlx-lm's models get wrong in a batch of prompts of different lengths, put right when a base is loaded."""

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.models import gemma2


class Gemma2Attention(gemma2.Attention):
    """Gemma 2's attention, whose mask may be one a row.

    Where heads share keys mlx-lm's scores are [B, key heads, queries a key head, L, S], but the mask of a batch cache
    is [B, 1, L, S]: the two do not fit or, worse, fit by chance where B is the number of key heads.
    """

    def __call__(self, x: mx.array, mask: mx.array | None = None, cache: Any = None) -> mx.array:  # noqa: D102
        if mask is not None and mask.ndim == 4 and self.repeats > 1:
            mask = mask[:, :, None]
        return super().__call__(x, mask, cache)


def repair(model: nn.Module) -> None:
    """Give a model's modules the classes above, in place; models without fault stay as they are."""
    for module in model.modules():
        if type(module) is gemma2.Attention:
            module.__class__ = Gemma2Attention
