"""The one resident base: a model in memory once, worn by every role with that role's adapters.

Actor, reference, critic and reward model are the same weights with other adapters, so a role costs its adapter
and nothing else. ``resident.hidden(tokens, adapters)`` runs the trunk; a frozen adapter that every role shares
(the SFT adapter) is either kept in the stack or, in dense fp32, added to the weights once (`fold`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mlx.core as mx
from mlx import nn

from align_mlx import adapters as lora
from align_mlx.adapters import AdaptedLinear, Adapter
from align_mlx.compute import Compute, backend
from align_mlx.head import Head, find_head, find_trunk
from align_mlx.softmax import BLOCKS, Blocks, logits_in_blocks


@dataclass(frozen=True)
class Outfit:
    """What a role wears in all, the shared adapters too: what `Resident.outfit` prepares."""

    adapters: tuple[Adapter, ...]


Worn = Sequence[Adapter] | Outfit


@dataclass
class Resident:
    """A loaded base with its tokenizer.

    Attributes:
        model: the mlx-lm model; its block linears are `AdaptedLinear`.
        tokenizer: mlx-lm's tokenizer wrapper.
        maps: the adaptable linear maps by name.
        compute: number format and weight form in use.
        shared: frozen adapters under every role, in order.
        shares_prompts: answers to one prompt can be computed behind it (`align_mlx.prefix`); found out by `load_base`.
        end_tokens: ids that end a response: those of the model's config, and the chat template's end of a turn.
        blocks: how many logits exist at the same time (`align_mlx.plan` makes it fewer where memory is short).
    """

    model: nn.Module
    tokenizer: Any
    maps: dict[str, AdaptedLinear]
    compute: Compute
    end_tokens: frozenset[int]
    shared: tuple[Adapter, ...] = ()
    shares_prompts: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    blocks: Blocks = BLOCKS

    @cached_property
    def trunk(self) -> nn.Module:
        """The part of the model that turns ids into hidden states."""
        return find_trunk(self.model)

    @cached_property
    def head(self) -> Head:
        """The part of the model that turns hidden states into logits."""
        return find_head(self.model)

    @property
    def hidden_size(self) -> int:
        """Width D of the hidden state."""
        return self.head.hidden_size

    @property
    def vocab_size(self) -> int:
        """Number V of logits."""
        return self.head.vocab_size

    def hidden(self, tokens_BL: mx.array, adapters: Worn = (), cache: Any = None) -> mx.array:
        """Run the trunk.

        Args:
            tokens_BL: int32 token ids, right-padded without a cache, left-padded with a batch cache.
            adapters: the role's adapters, worn over the shared ones for this call only; or an `Outfit`.
            cache: mlx-lm caches, one a block, or None.

        Returns:
            hidden_BLD after the final norm, in the compute dtype.
        """
        self._wear(adapters.adapters if isinstance(adapters, Outfit) else (*self.shared, *adapters))
        try:
            return self.trunk(tokens_BL, cache=cache)
        finally:
            self._wear(())

    def outfit(self, adapters: Sequence[Adapter]) -> Outfit:
        """Prepare a role for many small passes: its adapters and the shared ones as one, in the compute dtype."""
        whole = (*self.shared, *adapters)
        if not any(adapter.params for adapter in whole):
            return Outfit(())
        one = lora.stacked(whole).cast(self.compute.dtype)
        mx.eval(one.params)
        return Outfit((one,))

    def logits(self, hidden: mx.array) -> mx.array:
        """Give fp32 logits [..., V] of hidden states [..., D], scaled and soft-capped where the model does that."""
        if self.head.quantized and backend() == "cuda":  # whose product first writes out the rows it needs in bf16
            return logits_in_blocks(self.head, hidden, self.blocks.rows)
        return self.head.logits(hidden)

    def share(self, adapter: Adapter) -> None:
        """Put a frozen adapter under every role: folded into dense fp32 weights, kept in the stack otherwise."""
        if self.compute.dense and self.compute.dtype == mx.float32:
            self.fold(adapter)
        else:
            self.shared = (*self.shared, adapter.cast(self.compute.dtype))

    def fold(self, adapter: Adapter) -> None:
        """Add ``scale A B`` to the dense weights in place."""
        for name, module in self.maps.items():
            if pair := adapter.pair(name):
                module.base.weight = module.base.weight + adapter.scale * (pair[0] @ pair[1]).T
        mx.eval(self.model.parameters())

    def _wear(self, stack: Sequence[Adapter]) -> None:
        for name, module in self.maps.items():
            module._worn = [(*pair, a.scale) for a in stack if (pair := a.pair(name)) is not None]
