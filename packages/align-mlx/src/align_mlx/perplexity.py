"""Perplexity: exp of the mean negative log-prob of written answers, teacher-forced."""

import math
from collections.abc import Sequence

from align_mlx import signals
from align_mlx.adapters import Adapter
from align_mlx.batching import by_length, pad
from align_mlx.chat import Tokens
from align_mlx.compute import pass_tokens
from align_mlx.logprobs import policy_stats
from align_mlx.resident import Resident


def perplexity(resident: Resident, adapters: Sequence[Adapter], rows: Sequence[Tokens], token_budget: int = 0) -> float:
    """Give exp(−Σ log p / Σ tokens) over the answers' tokens, their end tokens included.

    Args:
        resident: the base.
        adapters: the policy's adapters over the shared ones.
        rows: prompts with written answers.
        token_budget: most padded tokens of one forward pass; 0: what suits the machine.

    Raises:
        ValueError: there are no rows.
    """
    total, tokens = 0.0, 0
    for group in by_length(rows, token_budget or pass_tokens()):
        signals.check()
        batch = pad([rows[i] for i in group])
        total -= policy_stats(resident, adapters, batch, gradient=False).logprobs_BT.sum().item()
        tokens += sum(len(rows[i].response) for i in group)
    return perplexity_of(total, tokens)


def perplexity_of(nll: float, tokens: int) -> float:
    """Give exp(Σ −log p / tokens) of a sum in nats; infinite where that overflows.

    Raises:
        ValueError: there are no tokens.
    """
    if tokens <= 0:
        raise ValueError(f"perplexity: expected at least one token, got {tokens}")
    try:
        return math.exp(nll / tokens)
    except OverflowError:
        return math.inf
