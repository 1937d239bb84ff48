"""The one log-prob function: every likelihood in the project (SFT, old, new and reference policies) is this one.

log p(token) in fp32 from hidden states, conditioned on everything before, at temperature-scaled logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from align_mlx.adapters import Adapter
from align_mlx.batching import Batch
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_mlx.softmax import Blocks, kl_divergence, target_statistics


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
    states_BSD: mx.array,
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    gradient: bool = True,
    blocks: Blocks | None = None,
) -> TokenStats:
    """Give log-probs (and entropies) of a batch's response tokens from the states before them.

    Args:
        resident: the base, whose head turns hidden states into logits.
        states_BSD: what `align_mlx.prefix.states` gave for the batch.
        batch: the rows.
        temperature: logits are divided by it.
        entropy: also give the entropy at each position.
        gradient: False where nothing will be differentiated: the same numbers for fewer products.
        blocks: how many logits exist at the same time; None: as the base says.
    """
    mask_BT = batch.mask_BT
    logprobs_N, entropy_N = target_statistics(
        resident.head,
        states_BSD[:, :-1].reshape(-1, states_BSD.shape[-1]),
        batch.targets_BT.reshape(-1),
        temperature=temperature,
        entropy=entropy,
        gradient=gradient,
        blocks=blocks or resident.blocks,
    )

    def masked(values_N: mx.array) -> mx.array:
        return mx.where(mask_BT > 0, values_N.reshape(mask_BT.shape), 0.0)

    return TokenStats(masked(logprobs_N), None if entropy_N is None else masked(entropy_N))


def response_kl(
    resident: Resident,
    states_BSD: mx.array,
    reference_BSD: mx.array,
    batch: Batch,
    *,
    reference: Resident | None = None,
    temperature: float = 1.0,
    blocks: Blocks | None = None,
) -> mx.array:
    """Give the exact KL(policy ‖ reference) of the next token before each response token, fp32 [B, T], 0 on padding.

    Args:
        resident: the base, whose head turns the policy's states into logits.
        states_BSD, reference_BSD: what `align_mlx.prefix.states` gave under each.
        batch: the rows.
        reference: the base whose head reads the reference's states; None: the same.
        temperature: logits are divided by it.
        blocks: how many logits exist at the same time; None: as the base says.
    """
    head, other = resident.head, (reference or resident).head
    mine_ND, other_ND = (s[:, :-1].reshape(-1, s.shape[-1]) for s in (states_BSD, reference_BSD))
    kl_N = kl_divergence(head, mine_ND, other, other_ND, temperature=temperature, blocks=blocks or resident.blocks)
    return mx.where(batch.mask_BT > 0, kl_N.reshape(batch.mask_BT.shape), 0.0)


def policy_stats(
    resident: Resident,
    adapters: Sequence[Adapter],
    batch: Batch,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    gradient: bool = True,
    blocks: Blocks | None = None,
) -> TokenStats:
    """Teacher-forced log-probs of a batch under the base wearing `adapters` (none: the reference)."""
    states_BSD = states(resident, batch, adapters)
    return response_stats(
        resident, states_BSD, batch, temperature=temperature, entropy=entropy, gradient=gradient, blocks=blocks
    )
