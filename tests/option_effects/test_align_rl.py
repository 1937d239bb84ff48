"""Every option of align-rl has its effect; what PPO and GRPO share is shown with both."""

import operator

import mlx.core as mx
import numpy as np
import pytest
from option_effects.effects import (
    Effect,
    Effects,
    Outcome,
    Runs,
    See,
    Table,
    arrays,
    at,
    check,
    column,
    content,
    detail,
    finished,
    forecast,
    inputs,
    inside,
    interrupted,
    metric,
    number_format,
    passes,
    products,
    published,
    quantized,
    refusal,
    silent,
    spoilt_reward,
    tracked,
    widest,
)

from align_rl.config import GRPOConfig, PPOConfig
from align_rl.run import run

SMALL = {
    "sft": at("sft"),
    "rm": at("rm"),
    "data": at("data"),
    "num_iterations": 1,
    "batch_size": 4,
    "minibatches": 2,
    "learning_rate": 1e-2,
    "max_seq_length": 96,
    "max_prompt_length": 64,
    "max_response_length": 12,
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "controller": "none",
    "eval_every": 2,
    "eval_prompts": 4,
    "token_budget": 16384,
    "gradient_checkpointing": False,
    "rollout_rows": 128,
    "quiet": True,
}


def ranks(o: Outcome) -> set[int]:
    return {value.shape[1] for name, value in o.arrays("adapter").items() if name.endswith("lora_a")}


def blocks(o: Outcome) -> set[str]:
    return {name.split(".")[2] for name in o.arrays("adapter")}


def targets(o: Outcome) -> set[str]:
    return {name.split(".")[-2] for name in o.arrays("adapter")}


def scale(o: Outcome) -> str:
    """What the product of A and B is multiplied by, as the adapter's file says."""
    return mx.load(str(o.artifact.file("adapter")), return_metadata=True)[1]["scale"]


def first(name: str) -> See:
    """A column's value in the first iteration, in which both runs still have the same policy."""
    return lambda o: o.column(name)[0]


def last(name: str) -> See:
    return lambda o: o.column(name)[-1]


def responses(o: Outcome) -> list[str]:
    """The untrained policy's answers."""
    return o.column("response", "eval_0000_responses")


def k3(o: Outcome) -> dict[str, list[float]]:
    return {"kl_k3": o.column("kl_k3")}


def longest(o: Outcome) -> int:
    return max(map(len, o.column("tokens", "eval_0000_responses")))


def measured(o: Outcome) -> dict[str, list[float]]:
    """What the run learned and measured."""
    return {name: o.column(name, "curve") for name in ("kl", "reward_mean", "perplexity")}


TWO, THREE = {"num_iterations": 2}, {"num_iterations": 3}
TIGHT = {"target_kl": (1e-4,), "kl_schedule": "constant", **TWO}
"""A target that the second iteration is above."""

LOOP: dict[str, Effects] = {
    "sft": Effect(at("sft-other"), inputs("policy"), to={"rm": at("rm-other")}),
    "data": Effect(at("data-other"), inputs("dataset")),
    "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
    "overwrite": Effect(True, refusal, want=None, first=finished),
    "quiet": Effect(False, silent, want=False),
    "checkpoint_every": Effect(1, lambda o: o.watch.saves, given={"num_iterations": 2}, want=3),
    "keep_checkpoints": Effect(
        1, lambda o: o.watch.kept, given={"num_iterations": 3, "checkpoint_every": 1}, want=1, same=arrays("adapter")
    ),
    "resume": Effect(
        "never",
        lambda o: o.watch.updates,  # a resumed run has the second iteration's two left
        given={"num_iterations": 2, "checkpoint_every": 1},
        want=4,
        same=arrays("adapter"),
        first=interrupted,
    ),
    "num_iterations": Effect(3, column("iteration"), want=[1, 2, 3]),
    "batch_size": Effect(2, column("responses"), want=[6]),  # K = 3
    "minibatches": Effect(4, column("updates"), want=[4]),
    "ppo_epochs": Effect(2, column("updates"), want=[4]),
    "learning_rate": Effect(5e-3, column("learning_rate"), want=[5e-3]),
    "warmup_iterations": Effect(4, column("learning_rate"), given=TWO, want=[2.5e-3, 5e-3]),
    "control": Effect("null", column("kl", "curve"), want=[0, 0]),
    "max_seq_length": Effect(52, column("perplexity", "curve"), given={"max_prompt_length": 40}),
    "max_prompt_length": Effect(32, metric("prompts_dropped"), moves=operator.gt),
    "max_response_length": Effect(4, longest, want=4),
    "controller": (
        Effect("lr", column("learning_rate"), given=TIGHT, moves=lambda now, before: now[1] < before[1]),
        Effect("stop", column("updates"), given=TIGHT, want=[2, 0]),
        Effect("pullback", column("shrink"), given=TIGHT, moves=lambda now, before: now[1] < 1),
    ),
    "kl_schedule": Effect("constant", column("target_kl"), given=THREE, want=[0.05, 0.05, 0.05]),
    "target_kl": Effect((0.5, 0.25), column("target_kl"), given=TWO, want=[0.5, 0.25]),
    "kl_estimator": Effect("exact", column("kl"), given=TWO, same=k3),
    "eval_every": Effect(1, column("iteration", "curve"), given=TWO, want=[0, 1, 2]),
    "eval_prompts": Effect(3, lambda o: len(responses(o)), want=3),
    "selection": Effect(
        "reward", detail("selection", "step"), given={"eval_every": 1, "target_kl": (9.0,), "seed": 3, **THREE}
    ),
    "compute_form": Effect("quantized", quantized, given={"compute_form": "dense"}, want={True}),
    "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    "rollout_rows": Effect(1, widest, moves=operator.lt, same=measured),
    # Block inputs only: the backward pass applies every map once more.
    "gradient_checkpointing": Effect(True, products, moves=operator.gt, same=measured),
    "memory_limit": Effect(1e-4, refusal, want="PreflightError"),
    # An answer without a reward: the run stops, or goes on without it.
    "skip_nonfinite_rows": Effect(1, refusal, fault=spoilt_reward, want=None),
    "dry_run": Effect(True, forecast, want=(set(), True)),
    "track": Effect("tensorboard", tracked, want={"tracking"}),
    "track_dir": Effect(inside("watch"), tracked, given={"track": "tensorboard"}, want={"watch"}),
}
"""What the loop heeds for both methods: shown with GRPO."""

METHOD: dict[str, Effects] = {
    "rm": Effect(at("rm-again"), first("reward_mean")),
    "seed": Effect(7, content("adapter")),
    "max_grad_norm": Effect(1e-9, content("adapter")),
    "temperature": Effect(0.5, responses),
    # Every cut answer costs one: the mean falls.
    "truncation_penalty": Effect(1.0, first("reward_calibrated"), moves=operator.lt),
    # One token a response: all are cut, and none gives a gradient.
    "mask_truncated": Effect(True, column("grad_norm"), given={"max_response_length": 1}, want=[0.0]),
    "lora_rank": Effect(2, ranks, want={2}),
    "lora_alpha": Effect(16.0, scale, want="4.0"),
    "lora_layers": Effect(1, blocks, want={"1"}),
    "lora_targets": Effect(("q_proj", "v_proj"), targets, want={"q_proj", "v_proj"}),
    "clip_range": Effect(1e-4, first("clip_fraction"), moves=operator.gt),
    "clip_range_high": Effect(0.5, first("clip_fraction"), moves=operator.lt, given={"clip_range": 1e-4}),
    "controller": Effect("reward_penalty", content("adapter"), given=TWO),
    "kl_coef": Effect(5.0, content("adapter"), given={"controller": "reward_penalty", **TWO}),
    "token_budget": Effect(64, passes, moves=operator.gt, same=measured),
}
"""What each method heeds itself: shown with both."""


def critic_moved(o: Outcome) -> bool:
    """Whether the critic is no longer the reward model's adapter that it started as."""
    start = mx.load(str(o.artifact.input("reward_model").file("adapter")))
    return any(not np.array_equal(np.array(start[k]), v) for k, v in o.arrays("critic").items() if k in start)


def points(name: str) -> See:
    """An array kept with the untrained policy's answers, flat."""
    return lambda o: [value for row in o.column(name, "eval_0000_responses") for value in row]


def largest(name: str) -> See:
    return lambda o: max(map(abs, points(name)(o)))


def spread(o: Outcome) -> float:
    return round(float(np.std(points("advantages")(o))), 3)


PPO = Table(
    PPOConfig,
    run,
    SMALL,
    METHOD
    | {
        "gae_gamma": Effect(0.5, points("advantages")),
        "gae_lambda": Effect(0.5, points("advantages")),
        "value_coef": Effect(0.0, critic_moved, want=False),
        "entropy_coef": Effect(9.0, last("entropy"), given=TWO, moves=operator.gt),
        "entropy": Effect("sampled", first("loss"), same=lambda o: {"entropy": o.column("entropy")[0]}),
        "reward_shaping": Effect("dense", refusal, want="ValidationError"),
        "whiten_advantages": Effect(True, spread, given={"whiten_advantages": False}, want=1.0),
        "value_clip": Effect(1e-4, first("value_loss"), moves=operator.gt),
        "critic_init": Effect("zero", largest("values"), want=0.0),
        "critic_learning_rate": Effect(0.0, critic_moved, want=False),
        "critic_warmup": Effect(1, column("kl", "curve"), want=[0, 0]),
    },
)

GRPO = Table(
    GRPOConfig,
    run,
    {**SMALL, "K": 3},
    {**LOOP, **METHOD, "controller": (*LOOP["controller"], METHOD["controller"])}
    | {
        "K": Effect(2, column("responses"), want=[8]),  # four prompts
        "normalizer_alpha": Effect(0.5, first("normalizer_mean")),
        "score_normalizer": Effect("none", column("normalizer_mean"), want=[3.0]),
        "loss_type": (
            Effect("dapo", first("grad_norm")),
            Effect("dr_grpo", first("grad_norm"), moves=operator.lt),  # divided by the limit, not by the lengths
            Effect("gspo", first("clip_fraction"), given={"clip_range": 1e-3}),
        ),
        "scale_rewards": (
            Effect("group", first("grad_norm")),
            Effect("batch", first("grad_norm")),
        ),
    },
)

TABLES = [PPO, GRPO]


@pytest.mark.parametrize(("table", "name", "effect"), [case for table in TABLES for case in table.cases()])
def test_the_option_has_its_effect(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    check(runs, table, name, effect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_option_is_in_a_table(table: Table) -> None:
    assert {*LOOP, *table.options} == set(table.config.model_fields)
