"""Every option of align-rm has its effect."""

import json
import math
import operator

import pytest
from option_effects.effects import (
    Effect,
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
    spoilt_row,
    tracked,
    widest,
)

from align_rm import eval as evaluate
from align_rm import train
from align_rm.config import EvalConfig, TrainConfig


def maps(o: Outcome) -> set[str]:
    """Names of the adapted linear maps, with their blocks."""
    return {".".join((name.split(".")[2], name.split(".")[-2])) for name in o.arrays("adapter")}


def trained(o: Outcome) -> set[tuple[int, ...]]:
    """Shapes of A."""
    return {value.shape for name, value in o.arrays("adapter").items() if name.endswith("lora_a")}


def a_size(o: Outcome) -> float:
    """The norm of A, which starts far from zero."""
    return float(sum((value**2).sum() for name, value in o.arrays("adapter").items() if name.endswith("lora_a")))


def first_loss(o: Outcome) -> float:
    return o.column("loss")[0]


def bias_moved(o: Outcome) -> bool:
    return bool(o.arrays("head")["bias"].any())


def too_long(o: Outcome) -> int:
    return o.artifact.manifest.extensions["dropped"]["train"]["too_long"]


SMALL = {
    "sft": at("sft"),
    "data": at("data"),
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "learning_rate": 1e-2,
    "batch_size": 8,
    "epochs": 1,
    "max_steps": 2,
    "calibration_prompts": 4,
    "max_new_tokens": 6,
    "compile": False,
    "token_budget": 16384,
    "gradient_checkpointing": False,
    "rollout_rows": 128,
    "quiet": True,
}

TRAIN = Table(
    TrainConfig,
    train.run,
    SMALL,
    {
        "sft": Effect(at("sft-other"), inputs("policy")),
        "data": Effect(at("data-other"), inputs("dataset")),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "checkpoint_every": Effect(1, lambda o: o.watch.saves, want=2),
        "keep_checkpoints": Effect(
            1, lambda o: o.watch.kept, given={"max_steps": 3, "checkpoint_every": 1}, want=1, same=arrays("adapter")
        ),
        "resume": Effect(
            "never",
            lambda o: o.watch.updates,  # a resumed run has one of three updates left
            given={"max_steps": 3, "checkpoint_every": 1},
            want=3,
            same=arrays("adapter"),
            first=interrupted,
        ),
        "backbone": Effect("base", metric("reward_mean"), given={"max_steps": 1}),
        "lora_rank": Effect(2, trained, want={(32, 2), (64, 2)}),  # inputs of width 32, and of the MLP's 64
        "lora_alpha": Effect(16.0, column("gradient_norm")),
        "lora_layers": Effect(1, lambda o: {name[0] for name in maps(o)}, want={"1"}),
        "lora_targets": Effect(("q_proj", "v_proj"), maps, want={"0.q_proj", "0.v_proj", "1.q_proj", "1.v_proj"}),
        "split": Effect("gold", column("epoch"), want=[1]),  # 8 pairs: one step
        "max_pairs": Effect(8, column("step"), want=[1]),
        "max_seq_length": Effect(64, too_long, moves=operator.gt),
        "learning_rate": Effect(5e-3, column("learning_rate"), want=[5e-3, 5e-3]),
        # Half a cosine over two steps: 0.1 + 0.9 · ½ · (1 + cos π/2) = 0.55, then 0.1.
        "schedule": Effect("cosine", column("learning_rate"), want=[5.5e-3, 1e-3]),
        "warmup_steps": Effect(4, column("learning_rate"), want=[2.5e-3, 5e-3]),
        "batch_size": Effect(32, column("step"), given={"max_steps": None}, want=[1, 2]),  # 56 pairs
        "epochs": Effect(2, column("epoch"), given={"max_steps": None, "batch_size": 64}, want=[1, 2]),
        "max_steps": Effect(1, column("step"), want=[1]),
        "max_grad_norm": Effect(1e-9, content("adapter")),
        "weight_decay": Effect(9.0, a_size, moves=operator.lt),
        "seed": Effect(7, content("adapter")),
        # The head starts at zero: −log σ(0 − margin · gap) is ln 2 without a margin, and more with one.
        "margin": Effect(0.5, first_loss, moves=lambda now, before: now > before == pytest.approx(math.log(2))),
        "centering": Effect(0.01, bias_moved, want=True),
        "calibration_prompts": Effect(3, detail("calibration", "n"), want=3),
        "max_new_tokens": Effect(2, metric("reward_mean")),
        "token_budget": Effect(256, passes, moves=operator.gt, same=arrays("adapter")),
        # Block inputs only: the backward pass applies every map once more.
        "gradient_checkpointing": Effect(True, products, moves=operator.gt, same=arrays("adapter")),
        "rollout_rows": Effect(1, widest, moves=operator.lt, same=arrays("adapter")),
        "memory_limit": Effect(1e-4, refusal, want="PreflightError"),
        # A row without a loss: the run stops, or goes on without it.
        "skip_nonfinite_rows": Effect(1, refusal, fault=spoilt_row("align_rm.train.make_gradient"), want=None),
        "dry_run": Effect(True, forecast, want=(set(), True)),
        "track": Effect("tensorboard", tracked, want={"tracking"}),
        "track_dir": Effect(inside("watch"), tracked, given={"track": "tensorboard"}, want={"watch"}),
        # Traced once a shape instead of run for each batch; shared prompts make more shapes, so more steps show it.
        "compile": Effect(
            True, passes, given={"max_steps": 12, "epochs": 3}, moves=operator.lt, same=arrays("adapter")
        ),
        "compute_form": Effect(
            "quantized", quantized, given={"compute_form": "dense"}, want={True}, same=arrays("head")
        ),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    },
)


def figure(name: str) -> See:
    return lambda o: json.loads(o.stdout)[name]


def figures(o: Outcome) -> dict[str, float]:
    found = json.loads(o.stdout)
    return {name: found[name] for name in ("ece_before", "ece_after", "pairwise_accuracy")}


EVAL = Table(
    EvalConfig,
    evaluate.run,
    {"rm": at("rm"), "json_output": True},
    {
        "rm": Effect(at("rm-other"), figures),
        "data": Effect(at("data-other"), figures),
        "split": Effect("test", figure("n"), want=6),
        "json_output": Effect(False, lambda o: o.stdout.startswith("{"), want=False),
        "token_budget": Effect(128, passes, given={"token_budget": 16384}, moves=operator.gt, same=figures),
        "compute_form": Effect("quantized", quantized, given={"compute_form": "dense"}, want={True}, same=figures),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    },
)

TABLES = [TRAIN, EVAL]


@pytest.mark.parametrize(("table", "name", "effect"), [case for table in TABLES for case in table.cases()])
def test_the_option_has_its_effect(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    check(runs, table, name, effect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_option_is_in_the_table(table: Table) -> None:
    assert set(table.options) == set(table.config.model_fields)
