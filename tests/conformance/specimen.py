"""Small random models, on both sides at once: as the implementation wears them, and as float64 weights by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten

from align_mlx import adapters as lora
from align_mlx import fastmath
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.head import Head
from align_mlx.repairs import repair
from align_mlx.resident import Resident
from conformance.reference.transformer import Lora
from tiny.models import make_model

ENDS, FIRST_WORD, VOCABULARY = frozenset({1, 5}), 9, 64
SPEC = LoraSpec(rank=2, alpha=3.0, layers=2)


@dataclass(frozen=True)
class Specimen:
    """One model twice, and its config.json."""

    resident: Resident
    weights: dict[str, np.ndarray]
    config: dict[str, Any]

    def adapter(self, seed: int, size: float = 0.1, spec: LoraSpec = SPEC) -> Adapter:
        """Make an adapter that changes something: B is drawn instead of zero."""
        adapter = lora.fresh(self.resident.maps, spec, mx.random.key(seed))
        return Adapter({**adapter.params, **draw(pick(adapter.params, "lora_b"), seed, size)}, adapter.scale)


@cache
def specimen(family: str = "gemma", tied: bool = True) -> Specimen:
    """Give the model of a family; tests share it and never change it."""
    return make(family, tied)


def make(family: str = "gemma", tied: bool = True) -> Specimen:
    """Make a model of its own, for a test that changes it."""
    # Hidden 16: its square root, the factor of Gemma's embeddings, is exact in every number format.
    model, config = make_model(family, tied=tied, hidden=16)
    weights = float64(dict(tree_flatten(model.parameters())))
    model.freeze()
    repair(model)
    fastmath.speed_up(model)
    resident = Resident(model, None, lora.wrap(model), Compute(mx.float32, dense=True), ENDS, config=config)
    return Specimen(resident, weights, config)


def identity(size: int) -> Head:
    """Give a head whose hidden states are its logits."""
    linear = nn.Linear(size, size, bias=False)
    linear.weight = mx.eye(size)
    return Head(linear)


def float64(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give arrays as the reference takes them."""
    return {k: np.array(v, np.float64) for k, v in arrays.items()}


def float32(arrays: Mapping[str, np.ndarray]) -> dict[str, mx.array]:
    """Give arrays as the implementation takes them."""
    return {k: mx.array(v, mx.float32) for k, v in arrays.items()}


def pick(arrays: Mapping[str, Any], *ends: str) -> dict[str, Any]:
    """Give the arrays whose names end so."""
    return {k: v for k, v in arrays.items() if k.endswith(ends)}


def draw(like: Mapping[str, Any], seed: int, size: float = 1.0) -> dict[str, mx.array]:
    """Draw normal numbers in the shapes of these arrays."""
    rng = np.random.default_rng(seed)
    return {k: mx.array(size * rng.normal(size=v.shape), mx.float32) for k, v in sorted(like.items())}


def as_lora(adapter: Adapter) -> Lora:
    """Give an adapter as the reference takes it."""
    return Lora(float64(adapter.params), adapter.scale)


def draw_rows(seed: int, prompts: Sequence[int], responses: Sequence[int], *, ended: bool = True) -> list[Tokens]:
    """Draw conversations of these lengths; unless `ended` is false, the last token of a response ends it."""
    rng, rows = np.random.default_rng(seed), []
    for lengths in zip(prompts, responses, strict=True):
        prompt, response = (tuple(rng.integers(FIRST_WORD, VOCABULARY, n).tolist()) for n in lengths)
        rows.append(Tokens(prompt, (*response[:-1], 5) if ended else response))
    return rows


def ragged(array_BT: Any, rows: Sequence[Tokens]) -> list[np.ndarray]:
    """Cut a padded array into one float64 array an answer."""
    return [np.array(v[: len(row.response)], np.float64) for v, row in zip(np.array(array_BT), rows, strict=True)]


def padded(answers: Sequence[np.ndarray], width: int, padding: float = 0.0) -> mx.array:
    """Give fp32 [B, T] of one array an answer."""
    out = np.full((len(answers), width), padding, np.float32)
    for i, values in enumerate(answers):
        out[i, : len(values)] = values
    return mx.array(out)


def assert_close(found: Sequence[Any], expected: Sequence[np.ndarray], atol: float) -> None:
    """Compare answer by answer."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.array(one, np.float64), other, rtol=0, atol=atol)
