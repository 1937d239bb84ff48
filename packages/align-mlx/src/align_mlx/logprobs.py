"""The one log-prob function: every likelihood in the project (SFT, old, new and reference policies) is this one.

log p(token) in fp32 from hidden states, conditioned on everything before, at temperature-scaled logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from align_mlx import fastmath
from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, gather
from align_mlx.resident import Resident


@dataclass(frozen=True)
class TokenStats:
    """Per response token, fp32, 0 where the batch's mask is 0.

    Attributes:
        logprobs_BT: log p(token | all before), nats.
        entropy_BT: entropy of the next-token distribution, nats; None unless asked for.
    """

    logprobs_BT: mx.array
    entropy_BT: mx.array | None = None


def select_logprobs(
    logits_NV: mx.array, targets_N: mx.array, *, entropy: bool = False
) -> tuple[mx.array, mx.array | None]:
    """Give log-softmax at the targets, and the entropy, of fp32 logits.

    Args:
        logits_NV: fp32 logits.
        targets_N: int32 ids.
        entropy: also compute H = lse − Σ p·logit.

    Returns:
        logprobs_N and entropy_N (or None), both in nats.
    """
    lse_N = fastmath.logsumexp(logits_NV)
    chosen_N = mx.take_along_axis(logits_NV, targets_N[:, None], axis=-1)[:, 0]
    if not entropy:
        return chosen_N - lse_N, None
    probs_NV = fastmath.exp(logits_NV - lse_N[:, None])
    return chosen_N - lse_N, lse_N - (probs_NV * logits_NV).sum(axis=-1)


def response_stats(
    resident: Resident,
    hidden_BLD: mx.array,
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    block: int = 2048,
) -> TokenStats:
    """Give log-probs (and entropies) of a batch's response tokens from the trunk's hidden states.

    Args:
        resident: the base, whose head turns hidden states into logits.
        hidden_BLD: what `Resident.hidden` gave for ``batch.tokens_BL``.
        batch: right-padded sequences.
        temperature: logits are divided by it.
        entropy: also give the entropy at each position.
        block: tokens whose logits exist at the same time.
    """
    shape = batch.mask_BT.shape
    hidden_ND = gather(hidden_BLD, batch.positions_BT).reshape(-1, hidden_BLD.shape[-1])
    targets_N = batch.targets_BT.reshape(-1)
    parts = []
    for start in range(0, targets_N.size, block):
        logits = resident.logits(hidden_ND[start : start + block])
        if temperature != 1.0:
            logits = logits / temperature
        parts.append(select_logprobs(logits, targets_N[start : start + block], entropy=entropy))
    mask_BT = batch.mask_BT
    logprobs_BT = mx.where(mask_BT > 0, mx.concatenate([p[0] for p in parts]).reshape(shape), 0.0)
    if not entropy:
        return TokenStats(logprobs_BT)
    entropy_BT = mx.concatenate([p[1] for p in parts]).reshape(shape)
    return TokenStats(logprobs_BT, mx.where(mask_BT > 0, entropy_BT, 0.0))


def policy_stats(
    resident: Resident,
    adapters: Sequence[Adapter],
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
) -> TokenStats:
    """Teacher-forced log-probs of a batch under the base wearing `adapters` (none: the reference)."""
    hidden_BLD = resident.hidden(batch.tokens_BL, adapters)
    return response_stats(resident, hidden_BLD, batch, temperature=temperature, entropy=entropy)
