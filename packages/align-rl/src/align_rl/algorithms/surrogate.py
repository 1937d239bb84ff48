"""The clipped surrogate objective, shared by PPO and GRPO, and how its tokens are weighted."""

from typing import Literal

import mlx.core as mx

from align_rl.algorithms.checks import same_shape

Aggregation = Literal["grpo", "dapo", "dr_grpo", "gspo"]


def clipped_surrogate(ratio_BT: mx.array, advantages_BT: mx.array, *, clip_low: float, clip_high: float) -> mx.array:
    """Per-token loss −min(ratio·A, clip(ratio, 1 − low, 1 + high)·A).

    Source: PPO, arXiv 1707.06347, eq. 7; asymmetric clip: DAPO, arXiv 2503.14476.
    """
    same_shape(2, ratio_BT=ratio_BT, advantages_BT=advantages_BT)
    clipped_BT = mx.clip(ratio_BT, 1.0 - clip_low, 1.0 + clip_high)
    return -mx.minimum(ratio_BT * advantages_BT, clipped_BT * advantages_BT)


def token_ratio(logprobs_BT: mx.array, old_logprobs_BT: mx.array, mask_BT: mx.array) -> mx.array:
    """exp(log p − log p_old) on real tokens, 1 on padding (masked inside the exponent, so never inf)."""
    same_shape(2, logprobs_BT=logprobs_BT, old_logprobs_BT=old_logprobs_BT, mask_BT=mask_BT)
    return mx.exp(mx.where(mask_BT > 0, logprobs_BT - old_logprobs_BT, 0.0))


def sequence_ratio(logprobs_BT: mx.array, old_logprobs_BT: mx.array, mask_BT: mx.array) -> mx.array:
    """GSPO's ratio: exp of the mean token log-ratio of the answer, the same at each of its tokens.

    Source: GSPO, arXiv 2507.18071, eq. 7.
    """
    same_shape(2, logprobs_BT=logprobs_BT, old_logprobs_BT=old_logprobs_BT, mask_BT=mask_BT)
    log_BT = mx.where(mask_BT > 0, logprobs_BT - old_logprobs_BT, 0.0)
    mean_B1 = log_BT.sum(axis=1, keepdims=True) / mx.maximum(mask_BT.sum(axis=1, keepdims=True), 1.0)
    return mx.broadcast_to(mx.exp(mean_B1), log_BT.shape)


def token_weights(mask_BT: mx.array, aggregation: Aggregation, max_length: int) -> mx.array:
    """Weights w with loss = Σ w·token loss; known before any forward pass, so micro-batches add up exactly.

    Args:
        mask_BT: the tokens of the *whole* minibatch that count.
        aggregation: ``grpo`` and ``gspo``: mean over each answer, then over answers with tokens; ``dapo``: mean over
            all tokens; ``dr_grpo``: sum over tokens divided by the constant answers × max_length.
        max_length: the response limit in tokens, used by ``dr_grpo``.

    Source: DeepSeekMath 2402.03300; DAPO 2503.14476; Dr. GRPO 2503.20783.
    """
    same_shape(2, mask_BT=mask_BT)
    if aggregation in ("grpo", "gspo"):
        lengths_B1 = mask_BT.sum(axis=1, keepdims=True)
        return mask_BT / mx.maximum(lengths_B1, 1.0) / mx.maximum((lengths_B1 > 0).astype(mx.float32).sum(), 1.0)
    if aggregation == "dapo":
        return mask_BT / mx.maximum(mask_BT.sum(), 1.0)
    if aggregation == "dr_grpo":
        return mask_BT / (mask_BT.shape[0] * max_length)
    raise ValueError(f"expected grpo, dapo, dr_grpo or gspo, got {aggregation!r}")
