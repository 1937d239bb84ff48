"""The half that both methods share: the actor's log-probs and its clipped surrogate on a minibatch."""

from collections.abc import Mapping

import mlx.core as mx

from align_mlx.adapters import Adapter, Params
from align_mlx.logprobs import TokenStats, policy_stats
from align_mlx.resident import Resident
from align_mlx.train_state import TrainState
from align_rl.algorithms.surrogate import clipped_surrogate, sequence_ratio, token_ratio
from align_rl.config import RLConfig
from align_rl.methods.base import Experience

ACTOR = "actor."
CLIP_FRACTION, APPROX_KL = "clip_fraction", "approx_kl"
RATIO_ERROR, LARGEST = "ratio_error", "ratio_error_max"
"""Mean |ratio − 1| over tokens, and its largest value: the only fact that does not add up over micro-batches."""
TOKENS = "ratio_tokens"


def part_of(params: Params, prefix: str) -> Params:
    """Give the parameters under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}


def actor_adapter(params: Params, config: RLConfig) -> Adapter:
    """Give the actor's adapter."""
    return Adapter(part_of(params, ACTOR), config.lora_alpha / config.lora_rank)


def pull_back(state: TrainState, factor: float) -> None:
    """Scale the actor's adapter: its product A·B grows with B, so B is scaled."""
    if factor != 1.0:
        scaled = {k: v * factor for k, v in state.params.items() if k.startswith(ACTOR) and k.endswith("lora_b")}
        state.params = {**state.params, **scaled}


def surrogate(
    resident: Resident,
    config: RLConfig,
    params: Params,
    part: Experience,
    *,
    sequence: bool = False,
    entropy: bool = False,
) -> tuple[mx.array, TokenStats, dict[str, mx.array]]:
    """Give the per-token clipped loss, the new statistics, and per-token facts (all [B, T])."""
    stats = policy_stats(
        resident,
        (actor_adapter(params, config),),
        part.batch,
        temperature=config.temperature,
        entropy=entropy,
    )
    mask_BT = part.batch.mask_BT
    ratio_of = sequence_ratio if sequence else token_ratio
    ratio_BT = ratio_of(stats.logprobs_BT, part.old_logprobs_BT, mask_BT)
    low, high = config.clip
    loss_BT = clipped_surrogate(ratio_BT, part.advantages_BT, clip_low=low, clip_high=high)
    log_ratio_BT = (stats.logprobs_BT - part.old_logprobs_BT) * mask_BT
    clipped_BT = ((ratio_BT < 1 - low) | (ratio_BT > 1 + high)).astype(mx.float32)
    facts = {
        "policy_loss": loss_BT,
        CLIP_FRACTION: clipped_BT,
        APPROX_KL: mx.exp(log_ratio_BT) - 1.0 - log_ratio_BT,
        RATIO_ERROR: mx.abs(token_ratio(stats.logprobs_BT, part.old_logprobs_BT, mask_BT) - 1.0),
    }
    return loss_BT, stats, facts


def weigh(facts_BT: Mapping[str, mx.array], weights_BT: mx.array, mask_BT: mx.array) -> dict[str, mx.array]:
    """Give Σ w·fact of each per-token fact.

    The ratio's error is that of single tokens whatever the loss averages, over all of them whether they learn or not:
    its sum (0 on padding), its largest, and the number of tokens.
    """
    sums = {k: (v_BT * weights_BT).sum() for k, v_BT in facts_BT.items()}
    error_BT = facts_BT[RATIO_ERROR]
    return {**sums, RATIO_ERROR: error_BT.sum(), LARGEST: error_BT.max(), TOKENS: mask_BT.sum()}


def as_means(facts: dict[str, float], weights_BT: mx.array) -> dict[str, float]:
    """Turn a minibatch's sums into means over its tokens; parts of the loss and the largest stay as they are.

    Only the constant of ``dr_grpo`` gives weights that do not sum to 1.
    """
    total = weights_BT.sum().item()
    measured = {CLIP_FRACTION, APPROX_KL} & facts.keys()
    means = {k: v / total if k in measured and total > 0 else v for k, v in facts.items() if k != TOKENS}
    return {**means, RATIO_ERROR: facts[RATIO_ERROR] / facts[TOKENS]} if TOKENS in facts else means
