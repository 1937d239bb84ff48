"""Generalised advantage estimation for one answer as one episode that ends at its last token."""

import mlx.core as mx

from align_rl.algorithms.checks import same_shape


def eos_rewards(scores_B: mx.array, mask_BT: mx.array) -> mx.array:
    """Put each answer's scalar reward on its last real token, 0 on the others (EOS-only shaping).

    Args:
        scores_B: one reward an answer.
        mask_BT: real tokens, contiguous from position 0.
    """
    same_shape(2, mask_BT=mask_BT)
    same_shape(1, scores_B=scores_B, answers_B=mask_BT[:, 0])
    last_B = mask_BT.sum(axis=1).astype(mx.int32) - 1
    here_BT = mx.arange(mask_BT.shape[1])[None, :] == last_B[:, None]
    return mx.where(here_BT, scores_B[:, None], 0.0)


def gae(
    rewards_BT: mx.array, values_BT: mx.array, mask_BT: mx.array, *, gamma: float, lam: float
) -> tuple[mx.array, mx.array]:
    """Advantages and returns of right-padded episodes.

    delta_t = r_t + γ V(s_{t+1}) − V(s_t), with V = 0 after the last token; A_t = delta_t + γλ A_{t+1}.

    Args:
        rewards_BT: reward for taking token t.
        values_BT: V(s_t), the value of the state *before* token t.
        mask_BT: real tokens, contiguous from position 0.
        gamma: discount γ in [0, 1].
        lam: λ in [0, 1]; 0 is one-step TD, 1 is the discounted Monte-Carlo return minus the value.

    Returns:
        advantages_BT (not whitened) and returns_BT = advantages + values, both 0 on padding.

    Source: Schulman et al., arXiv 1506.02438, eq. 16.
    """
    same_shape(2, rewards_BT=rewards_BT, values_BT=values_BT, mask_BT=mask_BT)
    values_BT = mx.where(mask_BT > 0, values_BT, 0.0)
    rewards_BT = mx.where(mask_BT > 0, rewards_BT, 0.0)
    after_BT = mx.concatenate([values_BT[:, 1:], mx.zeros_like(values_BT[:, :1])], axis=1)
    deltas_BT = (rewards_BT + gamma * after_BT - values_BT) * mask_BT
    advantage_B = mx.zeros_like(values_BT[:, 0])
    columns = []
    for t in reversed(range(deltas_BT.shape[1])):
        advantage_B = deltas_BT[:, t] + gamma * lam * advantage_B
        columns.append(advantage_B)
    advantages_BT = mx.stack(columns[::-1], axis=1) * mask_BT
    return advantages_BT, (advantages_BT + values_BT) * mask_BT
