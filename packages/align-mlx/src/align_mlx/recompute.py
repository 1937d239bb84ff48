"""Gradient checkpointing: keep a block's input and compute the rest again in the backward pass.

Memory for activations falls from everything in every block to one hidden state a block and the inside of one; the
forward pass is computed twice. Source: Chen et al., arXiv 1604.06174.

The inside of a block is mostly its MLP's, eight times as wide as the hidden state in Gemma-2B. So the MLP can run over
some tokens after the others, in both passes: it sees each token by itself. A GPU, which is sent work far ahead of what
it has done, holds the temporaries of everything it was sent: none of them may be large.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map

from align_mlx.adapters import AdaptedLinear
from align_mlx.prefix import Prefix
from align_mlx.softmax import after

Pairs = list[list[tuple[mx.array, mx.array]]]
"""What a module's maps wear: (A, B) of each adapter, of each map."""

MLP_PARTS, MLP_TOKENS = 4, 256
"""An MLP sees so much of a pass at a time, but at least so many tokens: fewer leave a GPU's cores idle."""


def recompute_blocks(model: nn.Module, tokens: int | None = MLP_TOKENS) -> None:
    """Checkpoint every block of a model whose linear maps are `AdaptedLinear`, in place.

    Gradients flow to the block's input and to the adapters that its maps wear; base weights are frozen. With a
    key-value cache (sampling) a block runs as before; the keys and values of shared prompts are handed on like its
    output.

    Args:
        model: an mlx-lm model.
        tokens: fewest that go through a block's MLP (its ``mlp``, if it has one) at a time, None for all of a pass;
            changes memory, speed and rounding, nothing else.
    """
    for block in model.layers:
        if not _recomputes(block):
            kind: Any = type(block)
            block.__class__ = _recomputing(kind)
            if tokens is not None and isinstance(mlp := getattr(block, "mlp", None), nn.Module):
                kind = type(mlp)
                mlp.__class__ = _in_parts(kind, tokens)


def keep_blocks(model: nn.Module) -> None:
    """Undo `recompute_blocks`."""
    for block in model.layers:
        for module in (block, getattr(block, "mlp", None)):
            if _recomputes(module):
                module.__class__ = type(module).__mro__[1]


def _recomputes(module: Any) -> bool:
    return getattr(module, "_keeps_input_only", False)


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
            pairs, wearing = _worn(self)

            def inner(arrays: list[mx.array], pairs: Pairs, stored: list[Any]) -> Any:
                copies = [replace(prefix, stored=kept) for prefix, kept in zip(caches, stored, strict=True)]
                with wearing(pairs):
                    again, also = _with_arrays((args, named), arrays, copies)
                    return kind.__call__(self, *again, **also), [prefix.stored for prefix in copies]

            given = [prefix.stored for prefix in caches]
            out, stored = mx.checkpoint(inner)(_arrays((args, named)), pairs, given)
            for prefix, kept in zip(caches, stored, strict=True):
                prefix.stored = kept
            return out

    Recomputing.__name__ = kind.__name__
    return Recomputing


@cache
def _in_parts(kind: Any, fewest: int) -> Any:
    """Give a subclass of an MLP's class that sees a few tokens at a time, and computes them again when asked back."""

    class InParts(kind):
        """An MLP that keeps its input only."""

        _keeps_input_only = True

        def __call__(self, x: mx.array) -> mx.array:
            whole = x.size // x.shape[-1]
            tokens = max(fewest, -(-whole // MLP_PARTS))
            if whole <= tokens:
                return kind.__call__(self, x)
            pairs, wearing = _worn(self)

            def inner(part_ND: mx.array, pairs: Pairs) -> mx.array:
                with wearing(pairs):
                    return kind.__call__(self, part_ND[None])[0]

            return _by_tokens(inner, tokens)(x.reshape(-1, x.shape[-1]), pairs).reshape(x.shape)

    InParts.__name__ = kind.__name__
    return InParts


def _by_tokens(function: Callable[[mx.array, Pairs], mx.array], tokens: int) -> Callable[[mx.array, Pairs], mx.array]:
    """Give a function of states [N, D] and pairs that computes some rows after the others, both ways.

    `mx.checkpoint` a part would not do: the gradient reaches all parts at once, and MLX would begin them all.
    """

    @mx.custom_function
    def forward(x_ND: mx.array, pairs: Pairs) -> mx.array:
        parts: list[mx.array] = []
        for start in range(0, x_ND.shape[0], tokens):
            parts.append(function(after(x_ND[start : start + tokens], parts[-1:]), pairs))
        return mx.concatenate(parts)

    @forward.vjp
    def backward(primals: tuple[mx.array, Pairs], cotangent_ND: mx.array, output_ND: mx.array) -> Any:
        x_ND, pairs = primals
        flat = [array for map_pairs in pairs for pair in map_pairs for array in pair]
        rows: list[mx.array] = []
        sums: list[mx.array] = []
        for start in range(0, x_ND.shape[0], tokens):
            cut = slice(start, start + tokens)
            part_ND, slope_ND = (after(a, [*rows[-1:], *sums]) for a in (x_ND[cut], cotangent_ND[cut]))
            _, grads = mx.vjp(lambda x, *flat: function(x, _paired(flat, pairs)), [part_ND, *flat], [slope_ND])
            rows.append(grads[0])
            sums = [a + b for a, b in zip(sums, grads[1:], strict=True)] if sums else grads[1:]
        return mx.concatenate(rows), _paired(sums, pairs)

    return forward


def _paired(flat: Sequence[mx.array], like: Pairs) -> Pairs:
    """Put arrays in the order of pairs where pairs have theirs."""
    given = iter(flat)
    return [[(next(given), next(given)) for _ in map_pairs] for map_pairs in like]


def _worn(module: nn.Module) -> tuple[Pairs, Callable[[Pairs], AbstractContextManager[None]]]:
    """Give the arrays that a module's maps wear, and a context in which they wear others in their place.

    The backward pass calls a module again when it wears nothing any more: so adapters are arguments of that call.
    """
    maps = [found for found in module.modules() if isinstance(found, AdaptedLinear)]
    worn = [found._worn for found in maps]
    pairs = [[(a, b) for a, b, _ in stack] for stack in worn]

    @contextmanager
    def wearing(pairs: Pairs) -> Any:
        before = [found._worn for found in maps]
        for found, stack, mine in zip(maps, worn, pairs, strict=True):
            found._worn = [(*pair, scale) for pair, (_, _, scale) in zip(mine, stack, strict=True)]
        try:
            yield
        finally:
            for found, stack in zip(maps, before, strict=True):
                found._worn = stack

    return pairs, wearing


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
