"""Estimators of KL(actor ‖ reference) from tokens sampled by the actor.

Source: Schulman, Approximating KL Divergence (2020), joschu.net/blog/kl-approx.
"""

import mlx.core as mx

from align_rl.algorithms.checks import same_shape


def k1(logprobs_BT: mx.array, ref_logprobs_BT: mx.array) -> mx.array:
    """log p_actor − log p_reference: unbiased, of either sign, noisy."""
    same_shape(2, logprobs_BT=logprobs_BT, ref_logprobs_BT=ref_logprobs_BT)
    return logprobs_BT - ref_logprobs_BT


def k3(logprobs_BT: mx.array, ref_logprobs_BT: mx.array) -> mx.array:
    """exp(d) − d − 1 with d = log p_reference − log p_actor: unbiased and never negative."""
    same_shape(2, logprobs_BT=logprobs_BT, ref_logprobs_BT=ref_logprobs_BT)
    d_BT = ref_logprobs_BT - logprobs_BT
    return mx.exp(d_BT) - d_BT - 1.0
