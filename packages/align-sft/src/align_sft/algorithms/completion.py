"""The completion loss: −log p of the answer's tokens, and nothing of the prompt."""

import mlx.core as mx


def negative_log_likelihood(logprobs_BT: mx.array, mask_BT: mx.array) -> mx.array:
    """Sum −log p over the response tokens of a micro-batch.

    A sum, not a mean: divided by the response tokens of the *whole* effective batch it makes accumulation exact.

    Args:
        logprobs_BT: fp32 log p of each token, nats.
        mask_BT: 1 for a response token, else 0.

    Returns:
        fp32 scalar, nats.

    Raises:
        ValueError: the shapes differ.
    """
    if logprobs_BT.shape != mask_BT.shape:
        raise ValueError(f"log-probs and mask: expected equal shapes, got {logprobs_BT.shape} and {mask_BT.shape}")
    return -mx.where(mask_BT > 0, logprobs_BT, 0.0).sum()
