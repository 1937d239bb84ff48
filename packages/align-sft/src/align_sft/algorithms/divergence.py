"""How far one next-token distribution is from another."""

import mlx.core as mx


def kl_divergence(logits_NV: mx.array, reference_NV: mx.array) -> mx.array:
    """Give KL(p ‖ q) = Σ_v p (log p − log q) of softmax distributions, exactly, position by position.

    Args:
        logits_NV: fp32 logits of p.
        reference_NV: fp32 logits of q.

    Returns:
        fp32 [N], nats, ≥ 0 up to rounding.

    Raises:
        ValueError: the shapes differ.
    """
    if logits_NV.shape != reference_NV.shape:
        raise ValueError(f"expected equal shapes, got {logits_NV.shape} and {reference_NV.shape}")
    log_p = logits_NV - mx.logsumexp(logits_NV, axis=-1, keepdims=True)
    log_q = reference_NV - mx.logsumexp(reference_NV, axis=-1, keepdims=True)
    return (mx.exp(log_p) * (log_p - log_q)).sum(axis=-1)
