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
    weights_BV = fastmath.exp(logits_BV - logits_BV.max(axis=-1, keepdims=True))
    cdf_BV = mx.cumsum(weights_BV, axis=-1)
    below = cdf_BV <= uniforms_B[:, None] * cdf_BV[:, -1:]
    return mx.minimum(below.sum(axis=-1), logits_BV.shape[-1] - 1).astype(mx.int32)
