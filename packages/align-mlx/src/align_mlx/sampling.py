"""Counter-based sampling: the draw of a token depends on its place alone.

One uniform number per (seed, iteration, prompt, answer k, position t), turned into a token by the inverse CDF.
So draws do not change with batching, compaction, resume or the number of processes. The mixing function is
SplitMix64's finalizer (Steele, Lea & Flood, OOPSLA 2014), applied once per coordinate.
"""

import mlx.core as mx
import numpy as np

from align_mlx import fastmath

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


BLOCK = 512
"""Tokens whose weights are summed before they are told apart."""


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    return x ^ (x >> np.uint64(31))


def uniforms(seed: int, iteration: int, prompts_B: np.ndarray, answers_B: np.ndarray, steps: int) -> np.ndarray:
    """Give the uniform numbers of B answers.

    Args:
        seed: the run's seed.
        iteration: the iteration, so that a prompt seen again draws anew.
        prompts_B: int64, stable numbers of the prompts.
        answers_B: int64, which answer k of its prompt each row is.
        steps: positions T.

    Returns:
        fp32 [B, T] in [0, 1), with 24 random bits each.
    """
    with np.errstate(over="ignore"):
        state = _mix(np.array(seed, np.uint64) + _GOLDEN)
        state = _mix(state + np.array(iteration, np.uint64) * _GOLDEN + _GOLDEN)
        rows = _mix(state + np.asarray(prompts_B).astype(np.uint64) * _GOLDEN + _GOLDEN)
        rows = _mix(rows + np.asarray(answers_B).astype(np.uint64) * _GOLDEN + _GOLDEN)
        cells = _mix(rows[:, None] + (np.arange(steps, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)
    return (cells >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def inverse_cdf(logits_BV: mx.array, uniforms_B: mx.array, temperature: float) -> mx.array:
    """Turn uniform numbers into tokens; temperature 0 takes the most likely token.

    Args:
        logits_BV: fp32 logits.
        uniforms_B: fp32 in [0, 1).
        temperature: logits are divided by it.

    Returns:
        int32 token ids [B].
    """
    if temperature == 0:
        return mx.argmax(logits_BV, axis=-1).astype(mx.int32)
    if temperature != 1.0:
        logits_BV = logits_BV / temperature
    # In two steps, block and then token: one running sum over 256 000 weights would swallow the small ones of its tail.
    # All logits are read once; after that, one number a block and the tokens of one block.
    rows, size = logits_BV.shape
    if size % BLOCK:
        logits_BV = mx.pad(logits_BV, [(0, 0), (0, -size % BLOCK)], constant_values=-mx.inf)
    logits_BNM = logits_BV.reshape(rows, -1, BLOCK)
    sums_BN = fastmath.logsumexp(logits_BNM)
    top_B1 = sums_BN.max(axis=-1, keepdims=True)
    cdf_BN = mx.cumsum(fastmath.exp(sums_BN - top_B1), axis=-1)
    aim_B1 = uniforms_B[:, None] * cdf_BN[:, -1:]
    block_B1 = _first_above(cdf_BN, aim_B1)
    before_B1 = mx.where(block_B1 > 0, mx.take_along_axis(cdf_BN, mx.maximum(block_B1 - 1, 0), axis=-1), 0.0)
    inside_BM = fastmath.exp(mx.take_along_axis(logits_BNM, block_B1[:, :, None], axis=1)[:, 0] - top_B1)
    place_B1 = _first_above(mx.cumsum(inside_BM, axis=-1), aim_B1 - before_B1)
    return (block_B1 * BLOCK + place_B1)[:, 0].astype(mx.int32)


def _first_above(cdf_BN: mx.array, aim_B1: mx.array) -> mx.array:
    """Give the first place [B, 1] whose running sum exceeds the aim; if rounding leaves none, the last with weight."""
    return mx.minimum((cdf_BN <= aim_B1).sum(axis=-1, keepdims=True), (cdf_BN < cdf_BN[:, -1:]).sum(-1, keepdims=True))
