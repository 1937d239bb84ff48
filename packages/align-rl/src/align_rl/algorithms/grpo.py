"""Group-relative advantages."""

from typing import Literal

import mlx.core as mx

from align_rl.algorithms.checks import same_shape

Scale = Literal["none", "group", "batch"]


def group_advantages(rewards_PK: mx.array, scale: Scale = "none", epsilon: float = 1e-4) -> mx.array:
    """A = r − mean over the K answers of the same prompt, optionally over a standard deviation.

    Args:
        rewards_PK: rewards of K answers to each of P prompts.
        scale: ``none`` (the seed's), ``group``: divided by the std of the group's rewards, ``batch``: by the std of all
            rewards of the batch. Both with n − 1, as TRL takes them; the papers do not say.
        epsilon: added to the divisor.

    Returns:
        advantages_PK; a group whose rewards are all equal gives zeros.

    Source: DeepSeekMath, arXiv 2402.03300, section 4.1; ``none``: Dr. GRPO, arXiv 2503.20783; ``batch``: Lite PPO,
    arXiv 2508.08221.
    """
    same_shape(2, rewards_PK=rewards_PK)
    if rewards_PK.shape[1] < 2:
        raise ValueError(f"expected two or more answers a prompt, got {rewards_PK.shape[1]}")
    # The mean of equal numbers may differ from them in the last bit, and a division by ε would blow that up.
    equal_P1 = rewards_PK.max(axis=1, keepdims=True) == rewards_PK.min(axis=1, keepdims=True)
    centred_PK = mx.where(equal_P1, 0.0, rewards_PK - rewards_PK.mean(axis=1, keepdims=True))
    if scale == "group":
        return centred_PK / (mx.sqrt(rewards_PK.var(axis=1, keepdims=True, ddof=1)) + epsilon)
    if scale == "batch":
        return centred_PK / (mx.sqrt(rewards_PK.var(ddof=1)) + epsilon)
    if scale != "none":
        raise ValueError(f"expected none, group or batch, got {scale!r}")
    return centred_PK


def silent_groups(rewards_PK: mx.array) -> mx.array:
    """Count the groups whose rewards are all equal: they have no advantage and give no gradient."""
    same_shape(2, rewards_PK=rewards_PK)
    return (rewards_PK.max(axis=1) == rewards_PK.min(axis=1)).sum()
