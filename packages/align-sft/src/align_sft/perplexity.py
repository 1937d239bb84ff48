"""Teacher-forced perplexity of a policy on written answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from align_mlx.adapters import Adapter
from align_mlx.batching import by_length, pad
from align_mlx.chat import Tokens
from align_mlx.logprobs import policy_stats
from align_mlx.resident import Resident
from align_sft.algorithms.completion import negative_log_likelihood, perplexity

TOKEN_BUDGET = 8192
"""Padded tokens of one forward pass."""


@dataclass(frozen=True)
class Likelihood:
    """Summed −log p (nats) over a number of response tokens."""

    nll: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp of the mean −log p."""
        return perplexity(self.nll, self.tokens)


def likelihood(resident: Resident, adapters: Sequence[Adapter], rows: Sequence[Tokens]) -> Likelihood:
    """Measure how likely written answers are under the base wearing `adapters`.

    Args:
        resident: the base.
        adapters: the policy's adapters over the shared ones.
        rows: prompts with answers; at least one.
    """
    total, tokens = 0.0, 0
    for group in by_length(rows, TOKEN_BUDGET):
        batch = pad([rows[i] for i in group])
        stats = policy_stats(resident, adapters, batch)
        nll = negative_log_likelihood(stats.logprobs_BT, batch.mask_BT)
        mx.eval(nll)
        total += float(nll.item())
        tokens += sum(len(rows[i].response) for i in group)
    return Likelihood(total, tokens)
