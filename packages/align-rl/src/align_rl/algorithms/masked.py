"""Means over real tokens only: the same mask in numerator and denominator."""

import mlx.core as mx

from align_rl.algorithms.checks import same_shape


def masked_mean(values_BT: mx.array, mask_BT: mx.array) -> mx.array:
    """Mean of the values where the mask is 1; 0 if nothing is real."""
    same_shape(2, values_BT=values_BT, mask_BT=mask_BT)
    return mx.where(mask_BT > 0, values_BT, 0.0).sum() / mx.maximum(mask_BT.sum(), 1.0)


def masked_whiten(values_BT: mx.array, mask_BT: mx.array, epsilon: float = 1e-8) -> mx.array:
    """Shift and scale to mean 0 and standard deviation 1 over real tokens; 0 elsewhere.

    The variance is the population's (divided by n).
    """
    mean = masked_mean(values_BT, mask_BT)
    variance = masked_mean((values_BT - mean) ** 2, mask_BT)
    return mx.where(mask_BT > 0, (values_BT - mean) * mx.rsqrt(variance + epsilon), 0.0)
