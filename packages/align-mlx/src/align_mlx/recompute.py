"""Gradient checkpointing: keep a block's input and compute the rest again in the backward pass.

Memory for activations falls from everything in every block to one hidden state a block and the inside of one; the
forward pass is computed twice. Source: Chen et al., arXiv 1604.06174.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map

from align_mlx.adapters import AdaptedLinear
from align_mlx.prefix import Prefix

Worn = Sequence[tuple[mx.array, mx.array, float]]


def recompute_blocks(model: nn.Module) -> None:
    """Checkpoint every block of a model whose linear maps are `AdaptedLinear`, in place.

    Gradients flow to the block's input and to the adapters that its maps wear; base weights are frozen. With a
    key-value cache (sampling) a block runs as before; the keys and values of shared prompts are handed on like its
    output.
    """
    for block in model.layers:
        kind: Any = type(block)
        if not _recomputes(block):
            block.__class__ = _recomputing(kind)


def keep_blocks(model: nn.Module) -> None:
    """Undo `recompute_blocks`."""
    for block in model.layers:
        if _recomputes(block):
            block.__class__ = type(block).__mro__[1]


def _recomputes(block: nn.Module) -> bool:
    return getattr(block, "_keeps_input_only", False)


@cache
def _recomputing(kind: Any) -> Any:
    """Give a subclass of a block's class that checkpoints its call."""

    class Recomputing(kind):
        """A block that keeps its input only."""

        _keeps_input_only = True

        def __call__(self, *args: Any, **named: Any) -> Any:
            caches = [v for v in (*args, *named.values()) if hasattr(v, "update_and_fetch")]
            if any(not isinstance(cache, Prefix) for cache in caches):
                return kind.__call__(self, *args, **named)
            maps = [module for module in self.modules() if isinstance(module, AdaptedLinear)]
            worn = [module._worn for module in maps]
            scales = [[scale for _, _, scale in stack] for stack in worn]

            def inner(arrays: list[mx.array], pairs: list[list[tuple[mx.array, mx.array]]], stored: list[Any]) -> Any:
                # Called again by the backward pass, when nothing is worn any more: so the adapters are arguments.
                before = [module._worn for module in maps]
                _wear(maps, [[(*p, s) for p, s in zip(*z, strict=True)] for z in zip(pairs, scales, strict=True)])
                copies = [replace(prefix, stored=kept) for prefix, kept in zip(caches, stored, strict=True)]
                try:
                    again, also = _with_arrays((args, named), arrays, copies)
                    return kind.__call__(self, *again, **also), [prefix.stored for prefix in copies]
                finally:
                    _wear(maps, before)

            pairs = [[(a, b) for a, b, _ in stack] for stack in worn]
            given = [prefix.stored for prefix in caches]
            out, stored = mx.checkpoint(inner)(_arrays((args, named)), pairs, given)
            for prefix, kept in zip(caches, stored, strict=True):
                prefix.stored = kept
            return out

    Recomputing.__name__ = kind.__name__
    return Recomputing


def _arrays(tree: Any) -> list[mx.array]:
    """Give the arrays of a call that a gradient may flow through: hidden states, and what earlier blocks handed on."""
    return [leaf for _, leaf in tree_flatten(tree) if _flows(leaf)]


def _with_arrays(tree: Any, arrays: Sequence[mx.array], prefixes: Sequence[Prefix]) -> Any:
    """Put arrays where `_arrays` found them, and prefixes in place of the call's own."""
    given, copies = iter(arrays), iter(prefixes)

    def put(leaf: Any) -> Any:
        if isinstance(leaf, Prefix):
            return next(copies)
        return next(given) if _flows(leaf) else leaf

    return tree_map(put, tree)


def _flows(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def _wear(maps: Sequence[AdaptedLinear], worn: Sequence[Worn]) -> None:
    for module, stack in zip(maps, worn, strict=True):
        module._worn = stack
