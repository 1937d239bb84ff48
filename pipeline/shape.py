"""How large the base model is: from the recipe, its config, or what is published of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "google/gemma-2b-it": {
        "hidden_size": 2048,
        "num_hidden_layers": 18,
        "intermediate_size": 16384,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 256000,
    },
    "google/gemma-3-1b-it": {
        "hidden_size": 1152,
        "num_hidden_layers": 26,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 262144,
    },
    "Qwen/Qwen3-0.6B": {
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "intermediate_size": 3072,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
    },
    "meta-llama/Llama-3.2-1B-Instruct": {
        "hidden_size": 2048,
        "num_hidden_layers": 16,
        "intermediate_size": 8192,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
    },
}
"""What the configs of hub models say, for a plan before the download."""


@dataclass(frozen=True)
class Shape:
    """A decoder of blocks with four attention maps and three of a gated MLP, input and output embedding tied.

    Attributes:
        hidden: width D.
        layers: blocks.
        wide: width inside the MLP.
        queries, keys: width of all query heads, and of all key (or value) heads.
        vocabulary: tokens V.
        source: where the figures are from.
    """

    hidden: int
    layers: int
    wide: int
    queries: int
    keys: int
    vocabulary: int
    source: str

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of each linear map of a block: q, k, v, o, gate, up, down."""
        d = self.hidden
        attention = (d, self.queries), (d, self.keys), (d, self.keys), (self.queries, d)
        return *attention, (d, self.wide), (d, self.wide), (self.wide, d)

    @property
    def block(self) -> int:
        """Weights of a block's linear maps."""
        return sum(inputs * outputs for inputs, outputs in self.maps)

    @property
    def head(self) -> int:
        """Weights of the embedding, which is the output's too."""
        return self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All weights but the norms'."""
        return self.layers * self.block + self.head

    def lora(self, rank: int, layers: int) -> int:
        """Parameters of an adapter on every map of the last blocks: rank · (inputs + outputs) each."""
        return min(layers, self.layers) * rank * sum(inputs + outputs for inputs, outputs in self.maps)

    def stored_bytes(self, bits: int, group_size: int) -> int:
        """Bytes on the disk: so many bits a weight, scale and bias of 16 bits a group; 0 bits: bfloat16."""
        return self.parameters * 2 if bits == 0 else int(self.parameters * (bits + 32 / group_size) / 8)


def shape_of(base: Any, published: Path) -> Shape | None:
    """Find the base's shape, or None where nothing tells it yet.

    Args:
        base: settings of the step that makes it.
        published: where its artifact is, once it is there.
    """
    if (published / "config.json").is_file():
        return _from_config(json.loads((published / "config.json").read_text()), "the base artifact")
    if base.embedded:
        keys, queries = base.num_kv_heads * base.head_dim, base.num_heads * base.head_dim
        sizes = base.hidden_size, base.num_layers, base.intermediate_size, queries, keys, base.vocab_size
        return Shape(*sizes, "the recipe")
    config = Path(base.model) / "config.json"
    if config.is_file():
        return _from_config(json.loads(config.read_text()), str(config))
    known = PUBLISHED.get(base.model)
    return _from_config(known, f"what is published of {base.model}") if known else None


def _from_config(config: Mapping[str, Any], source: str) -> Shape | None:
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        each = int(config.get("head_dim") or hidden // heads)
        keys = int(config.get("num_key_value_heads") or heads) * each
        layers, wide = int(config["num_hidden_layers"]), int(config["intermediate_size"])
        return Shape(hidden, layers, wide, heads * each, keys, int(config["vocab_size"]), source)
    except (KeyError, TypeError, ValueError):  # another architecture, which names its sizes otherwise
        return None
