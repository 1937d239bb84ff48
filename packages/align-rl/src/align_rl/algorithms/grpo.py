"""Group-relative advantages."""

from typing import Literal

import mlx.core as mx
import numpy as np

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


def answer_advantages(
    rewards_B: mx.array, prompts_B: np.ndarray, scale: Scale = "none", epsilon: float = 1e-4
) -> mx.array:
    """Give `group_advantages` of answers in prompt order, also where prompts have different numbers of them.

    Args:
        rewards_B: rewards of the answers.
        prompts_B: the prompt of each answer, ascending; two or more answers each.
        scale, epsilon: as in `group_advantages`.

    Returns:
        advantages_B.
    """
    within: Scale = "none" if scale == "batch" else scale
    parts = [group_advantages(part_PK, within, epsilon).reshape(-1) for part_PK in by_prompt(rewards_B, prompts_B)]
    advantages_B = mx.concatenate(parts)
    return advantages_B / (mx.sqrt(rewards_B.var(ddof=1)) + epsilon) if scale == "batch" else advantages_B


def by_prompt(rewards_B: mx.array, prompts_B: np.ndarray) -> list[mx.array]:
    """Give rewards as one [P, K] where every prompt has K answers, else as one [1, k] a prompt."""
    if rewards_B.shape != prompts_B.shape or (np.diff(prompts_B) < 0).any():
        raise ValueError(f"expected prompts of {rewards_B.shape} in ascending order, got {prompts_B}")
    counts = np.unique(prompts_B, return_counts=True)[1]
    if (counts == counts[0]).all():
        return [rewards_B.reshape(-1, int(counts[0]))]
    return [part[None] for part in mx.split(rewards_B, np.cumsum(counts)[:-1].tolist())]


def silent_groups(rewards_PK: mx.array) -> mx.array:
    """Count the groups whose rewards are all equal: they have no advantage and give no gradient."""
    same_shape(2, rewards_PK=rewards_PK)
    return (rewards_PK.max(axis=1) == rewards_PK.min(axis=1)).sum()
