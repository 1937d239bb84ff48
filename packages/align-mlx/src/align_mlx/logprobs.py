"""The one log-prob function: every likelihood in the project (SFT, old, new and reference policies) is this one.

log p(token) in fp32 from hidden states, conditioned on everything before, at temperature-scaled logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, gather
from align_mlx.resident import Resident
from align_mlx.softmax import BLOCKS, Blocks, target_statistics


@dataclass(frozen=True)
class TokenStats:
    """Per response token, fp32, 0 where the batch's mask is 0.

    Attributes:
        logprobs_BT: log p(token | all before), nats.
        entropy_BT: entropy of the next-token distribution, nats; None unless asked for.
    """

    logprobs_BT: mx.array
    entropy_BT: mx.array | None = None


def response_stats(
    resident: Resident,
    hidden_BLD: mx.array,
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    gradient: bool = True,
    blocks: Blocks = BLOCKS,
) -> TokenStats:
    """Give log-probs (and entropies) of a batch's response tokens from the trunk's hidden states.

    Args:
        resident: the base, whose head turns hidden states into logits.
        hidden_BLD: what `Resident.hidden` gave for ``batch.tokens_BL``.
        batch: right-padded sequences.
        temperature: logits are divided by it.
        entropy: also give the entropy at each position.
        gradient: False where nothing will be differentiated: the same numbers for fewer products.
        blocks: how many logits exist at the same time.
    """
    mask_BT = batch.mask_BT
    hidden_ND = gather(hidden_BLD, batch.positions_BT).reshape(-1, hidden_BLD.shape[-1])
    logprobs_N, entropy_N = target_statistics(
        resident.head,
        hidden_ND,
        batch.targets_BT.reshape(-1),
        temperature=temperature,
        entropy=entropy,
        gradient=gradient,
        blocks=blocks,
    )

    def masked(values_N: mx.array) -> mx.array:
        return mx.where(mask_BT > 0, values_N.reshape(mask_BT.shape), 0.0)

    return TokenStats(masked(logprobs_N), None if entropy_N is None else masked(entropy_N))


def policy_stats(
    resident: Resident,
    adapters: Sequence[Adapter],
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    gradient: bool = True,
    blocks: Blocks = BLOCKS,
) -> TokenStats:
    """Teacher-forced log-probs of a batch under the base wearing `adapters` (none: the reference)."""
    hidden_BLD = resident.hidden(batch.tokens_BL, adapters)
    return response_stats(
        resident, hidden_BLD, batch, temperature=temperature, entropy=entropy, gradient=gradient, blocks=blocks
    )
