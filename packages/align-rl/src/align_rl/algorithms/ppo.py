"""PPO's own pieces: the value loss, and the entropy bonus in its two forms."""

import mlx.core as mx

from align_rl.algorithms.checks import same_shape


def value_loss(
    values_BT: mx.array, returns_BT: mx.array, old_values_BT: mx.array, *, value_clip: float | None
) -> mx.array:
    """Per-token squared error (V − R)², optionally the worse of it and the error of V kept near its old value.

    Source: the seed's formula; value clipping as in arXiv 2403.17031, detail 13.
    """
    same_shape(2, values_BT=values_BT, returns_BT=returns_BT, old_values_BT=old_values_BT)
    plain_BT = (values_BT - returns_BT) ** 2
    if value_clip is None:
        return plain_BT
    near_BT = old_values_BT + mx.clip(values_BT - old_values_BT, -value_clip, value_clip)
    return mx.maximum(plain_BT, (near_BT - returns_BT) ** 2)


def sampled_entropy(logprobs_BT: mx.array) -> mx.array:
    """The seed's −p·log p of the sampled token: not the entropy of the distribution, hence its own name."""
    return -(logprobs_BT * mx.exp(logprobs_BT))


def explained_variance(values_BT: mx.array, returns_BT: mx.array, mask_BT: mx.array) -> mx.array:
    """1 − Var(R − V) / Var(R) over real tokens: 1 is perfect, 0 no better than a constant, below 0 worse."""
    same_shape(2, values_BT=values_BT, returns_BT=returns_BT, mask_BT=mask_BT)
    count = mx.maximum(mask_BT.sum(), 1.0)

    def variance(x_BT: mx.array) -> mx.array:
        mean = (x_BT * mask_BT).sum() / count
        return ((x_BT - mean) ** 2 * mask_BT).sum() / count

    return 1.0 - variance(returns_BT - values_BT) / mx.maximum(variance(returns_BT), 1e-8)
