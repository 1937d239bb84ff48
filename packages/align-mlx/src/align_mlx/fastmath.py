"""exp, log-sum-exp, softmax, attention and gelu that a CPU can vectorise.

MLX's CPU kernels compute exp, tanh and erf one number at a time (40 to 75 million a second), so they, not the matrix
products, take most of a small model's time. The functions here use nothing but additions, products, one division and
bit shifts, and run 6 to 16 times faster; they agree with the exact functions to a few units of fp32's last place.
On a GPU, or in another number format than fp32, they are MLX's own.

The coefficients are minimax fits of ours (Lawson's iteration on a linearised rational least-squares problem); the
tests measure their error against the exact functions.
"""

import math
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from queue import SimpleQueue
from threading import Thread
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.models import base as mlx_lm_base
from mlx_lm.models import gemma

from align_mlx.compute import backend

_LOG2E = math.log2(math.e)
_ROUNDER, _ROUNDER_BITS = 1.5 * 2.0**23, 0x4B400000  # a sum with it has no bits left for a fraction
_LOWEST, _HIGHEST = -127 / _LOG2E, 127 / _LOG2E  # where 2^n has the exponent bits of 0, and its largest ones
_LARGE = 1 << 14  # numbers that are worth the 50 μs of another thread
_LARGEST = float(np.finfo(np.float32).max)
_KERNEL_WIDTH = 128  # numbers a head that MLX's CUDA kernel for one query can take
# 2^f on |f| ≤ 1/2: relative error below 3e-9.
_EXP2 = (1.0, 6.93147207e-1, 2.40226509e-1, 5.55032723e-2, 9.61805668e-3, 1.34004282e-3, 1.54614447e-4)
# Φ(x) − 1/2 = x P(x²) / Q(x²) on |x| ≤ 5.6, Φ the normal distribution: error below 1e-8.
_CDF_P = (3.98942222e-1, 3.43762414e-2, 4.70724645e-3, 1.73848463e-4, 6.3561966e-6, 2.21433646e-8)
_CDF_Q = (1.0, 2.52834174e-1, 2.89401086e-2, 1.91296947e-3, 7.50994218e-5, 1.18012908e-6)
# gelu'(x) − 1/2 = Φ(x) − 1/2 + x φ(x), in the same form: error below 2e-7.
_SLOPE_P = (7.97885345e-1, -3.09754253e-2, 1.42260786e-2, 1.97497774e-5, 3.58994203e-5, 1.92168959e-7)
_SLOPE_Q = (1.0, 2.94519494e-1, 4.09837259e-2, 3.52263699e-3, 1.92051717e-4, 8.9282261e-6)
_EDGE = 5.6
_QUERIES = 128  # read at a time: later ones see more keys, so fewer at a time save more, and cost more operations
_UNSEEN = float(np.finfo(np.float32).min)  # not −∞: a row of padding that sees nothing must not become NaN
_ATTENTION = "scaled_dot_product_attention"
_MLX_LM_ATTENTION = mlx_lm_base.scaled_dot_product_attention


def _polynomial(coefficients: tuple[float, ...], x: mx.array) -> mx.array:
    """Give c₀ + c₁ x + … + c₅ x⁵ (+ c₆ x⁶): few operations deep, since MLX cuts a kernel after eleven."""
    c, square = coefficients, x * x
    top = c[4] + c[5] * x if len(c) == 6 else (c[4] + c[5] * x) + square * c[6]
    return ((c[0] + c[1] * x) + square * (c[2] + c[3] * x)) + (square * square) * top


def _odd_ratio(p: tuple[float, ...], q: tuple[float, ...], x: mx.array) -> mx.array:
    over = mx.abs(x) * (0.5 / _EDGE) - 0.5
    z = x / (1.0 + (over + mx.abs(over)))  # x clipped to ± the edge; a choice between numbers is not vectorised
    y = z * z
    return z * _polynomial(p, y) / _polynomial(q, y)


def _by_rows(function: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """Let a function of arrays of one size, number by number, see them as rows of few different lengths.

    MLX compiles a function for a shape; for all shapes at once it cuts kernels after five operations. And while it
    traces a gradient it takes what is compiled apart into single operations: it traces a thread, and so large arrays
    are handed to another one. What is compiled has no derivative: the functions below bring the first one, and no more.
    """

    def on_rows(arrays: tuple[mx.array, ...]) -> mx.array:
        size = arrays[0].size
        step = 1 << max(0, size.bit_length() - 4)  # at most an eighth more
        more = -size % step
        rows = [array.reshape(-1) for array in arrays]
        found = function(*([mx.pad(row, (0, more)) for row in rows] if more else rows))
        return (found[:size] if more else found).reshape(arrays[0].shape)

    def whole(*arrays: mx.array) -> mx.array:
        return on_rows(arrays) if arrays[0].size < _LARGE else _beside(on_rows, arrays)

    return whole


def _beside(function: Callable[..., mx.array], arrays: tuple[mx.array, ...]) -> mx.array:
    """Call a function in a thread whose operations MLX does not trace."""
    answer: SimpleQueue[Any] = SimpleQueue()
    _asked().put((mx.default_stream(mx.default_device()), function, arrays, answer))
    found = answer.get()
    if isinstance(found, BaseException):
        try:
            raise found
        finally:
            del found  # whose traceback holds this frame
    return found


@cache
def _asked() -> "SimpleQueue[Any]":
    """Give what the thread reads; it never ends, since MLX aborts where a thread that has computed does."""
    asked: SimpleQueue[Any] = SimpleQueue()

    def serve() -> None:
        while True:
            stream, function, arrays, answer = asked.get()
            try:
                mx.set_default_stream(stream)
                found = function(arrays)
            except BaseException as error:
                found = error
            del arrays  # before the other thread goes on, which counts who still needs them
            answer.put(found)
            del found

    Thread(target=serve, name="fastmath", daemon=True).start()
    return asked


os.register_at_fork(after_in_child=_asked.cache_clear)  # a child has no thread but the one that forked


@mx.compile
def _rounded(x: mx.array) -> tuple[mx.array, mx.array]:
    """Give x log₂e rounded to a whole number n, as the fp32 number n + 1.5 · 2²³ whose low bits are n, and the rest."""
    exponent = mx.where(x > _HIGHEST, _HIGHEST, mx.where(x < _LOWEST, _LOWEST, x)) * _LOG2E
    rounded = exponent + _ROUNDER
    return rounded, exponent - (rounded - _ROUNDER)


@mx.compile
def _power(rounded_bits: mx.array) -> mx.array:
    return mx.left_shift(rounded_bits - (_ROUNDER_BITS - 127), 23)


@mx.compile
def _scaled_polynomial(rest: mx.array, power: mx.array) -> mx.array:
    return _polynomial(_EXP2, rest) * power


@_by_rows
def _exp(x: mx.array) -> mx.array:
    rounded, rest = _rounded(x)  # in three kernels: MLX fuses nothing with `view`
    return _scaled_polynomial(rest, mx.view(_power(mx.view(rounded, mx.int32)), mx.float32))


@_by_rows
@mx.compile
def _gelu(x: mx.array) -> mx.array:
    return x * (0.5 + _odd_ratio(_CDF_P, _CDF_Q, x))


@_by_rows
@mx.compile
def _gelu_slope(x: mx.array, cotangent: mx.array) -> mx.array:
    return cotangent * (0.5 + _odd_ratio(_SLOPE_P, _SLOPE_Q, x))


@mx.custom_function
def _fast_exp(x: mx.array) -> mx.array:
    return _exp(x)


@_fast_exp.vjp
def _fast_exp_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent * output


@mx.custom_function
def _fast_gelu(x: mx.array) -> mx.array:
    return _gelu(x)


@_fast_gelu.vjp
def _fast_gelu_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return _gelu_slope(x, cotangent)


@mx.custom_function
def _exp_sums(x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Give log Σ e^x, and the shifted e^x and their sums, from which the gradient is one product."""
    top = mx.maximum(x.max(axis=-1, keepdims=True), -_LARGEST)  # not −∞: nothing but −∞ sums to e^−∞ = 0
    powers = _exp(x - top)
    sums = powers.sum(axis=-1)
    return mx.log(sums) + top[..., 0], powers, sums


@_exp_sums.vjp
def _exp_sums_vjp(
    x: mx.array, cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, mx.array, mx.array]
) -> mx.array:
    _, powers, sums = outputs
    return (cotangents[0] / sums)[..., None] * powers


@mx.custom_function
def _fast_softmax(x: mx.array) -> mx.array:
    powers = _exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@_fast_softmax.vjp
def _fast_softmax_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    weighted = cotangent * output
    return weighted - output * weighted.sum(axis=-1, keepdims=True)


def _applies(x: mx.array) -> bool:
    return x.dtype == mx.float32 and backend() == "cpu"


def exp(x: mx.array) -> mx.array:
    """Give e^x of any shape; on a CPU it is 0 below x = −87.7, and 2¹²⁷ stands for anything larger."""
    return _fast_exp(x) if _applies(x) else mx.exp(x)


def logsumexp(x: mx.array) -> mx.array:
    """Give log Σ e^x over the last axis."""
    return _exp_sums(x)[0] if _applies(x) else mx.logsumexp(x, axis=-1)


def softmax(x: mx.array) -> mx.array:
    """Give e^x / Σ e^x over the last axis."""
    return _fast_softmax(x) if _applies(x) else mx.softmax(x, axis=-1, precise=True)


def gelu(x: mx.array) -> mx.array:
    """Give x Φ(x), the exact (not tanh) gelu, of finite numbers. Source: Hendrycks & Gimpel, arXiv 1606.08415."""
    return _fast_gelu(x) if _applies(x) else nn.gelu(x)


def attention(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | str | None
) -> mx.array:
    """Give softmax(scale Q Kᵀ + mask) V with `softmax` from here; heads that share keys share one product.

    Args:
        queries: [B, H, T, D].
        keys: [B, G, S, D], G a divisor of H: query heads h · H/G and on share a head of keys.
        values: [B, G, S, D'].
        scale: factor of the products.
        mask: ``"causal"`` (the T queries are the last of S places), True where a query sees a key, or numbers to add,
            each of a shape that goes with [B, H, T, S]; or None.

    Source: Vaswani et al., arXiv 1706.03762, equation 1; Ainslie et al., arXiv 2305.13245 for shared keys.
    """
    rows, heads, length, width = queries.shape
    groups, places = keys.shape[1:3]
    folded = (queries * scale).reshape(rows, groups, -1, width)
    scores = (folded @ keys.swapaxes(-1, -2)).reshape(rows, heads, length, places)
    if isinstance(mask, str):  # "causal"
        mask = mx.arange(places - length, places)[:, None] >= mx.arange(places)
    if isinstance(mask, mx.array):
        scores = mx.where(mask, scores, _UNSEEN) if mask.dtype == mx.bool_ else scores + mask
    seen = softmax(scores).reshape(rows, groups, -1, places)
    return (seen @ values).reshape(rows, heads, length, -1)


def _model_attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    cache: Any,
    scale: float,
    mask: mx.array | str | None,
    sinks: mx.array | None = None,
) -> mx.array:
    """Stand in for mlx-lm's function of the same arguments."""
    if sinks is not None or hasattr(cache, "bits") or not (_applies(queries) or _lacks_a_kernel(queries)):
        return _MLX_LM_ATTENTION(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)
    rows_of_mask = mask.shape[-2] if isinstance(mask, mx.array) else queries.shape[2]
    if queries.shape[2] <= _QUERIES or mask is None or rows_of_mask != queries.shape[2]:
        return attention(queries, keys, values, scale, mask)
    return _causal_attention(queries, keys, values, scale, mask)


def _causal_attention(
    queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array | str
) -> mx.array:
    """Give `attention` under the mask of a language model: no query sees a key behind its place, so half are not read.

    The last query's place is that of the last key.
    """
    length, places = queries.shape[2], keys.shape[2]
    parts = []
    for start in range(0, length, _QUERIES):
        stop = min(start + _QUERIES, length)
        seen = places - length + stop
        part = mask[..., start:stop, :seen] if isinstance(mask, mx.array) else mask
        parts.append(attention(queries[:, :, start:stop], keys[:, :, :seen], values[:, :, :seen], scale, part))
    return mx.concatenate(parts, axis=2)


def _lacks_a_kernel(queries: mx.array) -> bool:
    """Whether MLX would multiply each head's one query with the keys by itself, though heads share keys.

    On CUDA it has no kernel for one query of Gemma's width; one product for a group of heads is three times as fast.
    """
    return backend() == "cuda" and queries.shape[2] == 1 and queries.shape[3] > _KERNEL_WIDTH


@partial(mx.compile, shapeless=True)
def _gate(gate: mx.array, up: mx.array) -> mx.array:
    return nn.gelu(gate) * up


class FastMLP(gemma.MLP):
    """Gemma's MLP with `gelu` from here, elsewhere in one kernel with the product behind it."""

    def __call__(self, x: mx.array) -> mx.array:  # noqa: D102
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(gelu(gate) * up if _applies(gate) else _gate(gate, up))


def speed_up(model: nn.Module) -> None:
    """Let a model attend with `attention`, in place, and the MLPs of a Gemma model use the fast gelu.

    mlx-lm's models call attention by a name of their Python module, so it is the module's name that is changed.
    """
    for module in model.modules():
        if type(module) is gemma.MLP:
            module.__class__ = FastMLP
        home = sys.modules[type(module).__module__]
        if getattr(home, _ATTENTION, None) is _MLX_LM_ATTENTION and home is not mlx_lm_base:
            setattr(home, _ATTENTION, _model_attention)
