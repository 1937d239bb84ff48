"""Faults at seams of a loaded model: a token that spoils exactly the rows that hold it, and weights that are spoilt."""

from typing import Any

import mlx.core as mx
from mlx import nn

from align_mlx.resident import Resident


def spoil_token(resident: Resident, token: int, value: float = float("nan")) -> None:
    """Let the embedding of a token be `value` throughout, as a damaged row of it is; the head's row stays as it is."""
    embedding: Any = resident.trunk.embed_tokens
    kind: Any = type(embedding)

    class Spoilt(kind):  # type: ignore[misc]
        def __call__(self, ids: mx.array) -> mx.array:
            rows = super().__call__(ids)
            return mx.where((ids == token)[..., None], mx.array(value, rows.dtype), rows)

    embedding.__class__ = Spoilt


def explode_token(resident: Resident, token: int, factor: float = 1e30) -> None:
    """Multiply the gradient that flows into the trunk from rows that hold a token; its forward pass stays as it is."""
    trunk: nn.Module = resident.trunk

    @mx.custom_function
    def marked(hidden_BLD: mx.array, factor_B11: mx.array) -> mx.array:
        return hidden_BLD + 0 * factor_B11

    @marked.vjp
    def _(primals: tuple[mx.array, mx.array], cotangent: mx.array, output: mx.array) -> tuple[mx.array, mx.array]:
        return cotangent * primals[1], mx.zeros_like(primals[1])

    def call(tokens_BL: mx.array, cache: Any = None) -> mx.array:
        hidden_BLD = trunk(tokens_BL, cache=cache)
        hit_B11 = (tokens_BL == token).any(axis=1)[:, None, None]
        return marked(hidden_BLD, mx.where(hit_B11, factor, 1.0).astype(hidden_BLD.dtype))

    resident.__dict__["trunk"] = call


def spoil_array(array: mx.array, value: float = float("nan"), places: int = 1) -> mx.array:
    """Give an array whose first elements are `value`."""
    flat = array.reshape(-1)
    return mx.where(mx.arange(flat.size) < places, mx.array(value, array.dtype), flat).reshape(array.shape)
