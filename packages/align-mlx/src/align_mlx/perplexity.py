"""Perplexity: exp of the mean negative log-prob of written answers, teacher-forced."""

import math
from collections.abc import Sequence

from align_contracts import signals
from align_mlx.adapters import Adapter
from align_mlx.batching import by_length, own_rows, pad
from align_mlx.chat import Tokens
from align_mlx.compute import pass_tokens
from align_mlx.logprobs import policy_stats
from align_mlx.resident import Resident
from align_mlx.world import ALONE, World


def perplexity(
    resident: Resident,
    adapters: Sequence[Adapter],
    rows: Sequence[Tokens],
    token_budget: int = 0,
    world: World = ALONE,
) -> float:
    """Give exp(−Σ log p / Σ tokens) over the answers' tokens, their end tokens included.

    Args:
        resident: the base.
        adapters: the policy's adapters over the shared ones.
        rows: prompts with written answers.
        token_budget: most padded tokens of one forward pass; 0: what suits the machine.
        world: the processes that share the rows; all get the result.

    Raises:
        ValueError: there are no rows.
    """
    total, tokens = 0.0, 0
    rows = [rows[i] for i in own_rows(rows, world)]
    for group in by_length(rows, token_budget or pass_tokens()):
        signals.check()
        batch = pad([rows[i] for i in group])
        total -= policy_stats(resident, adapters, batch, gradient=False).logprobs_BT.sum().item()
        tokens += sum(len(rows[i].response) for i in group)
    whole = world.sums("perplexity", {"nll": total, "tokens": tokens})
    total, tokens = whole["nll"], int(whole["tokens"])
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
