"""Every option of align-sft has its effect."""

import json
import operator
from typing import Any

import mlx.core as mx
import pytest
from option_effects.conftest import BASE as SMALL
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
    decodings,
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
)

from align_sft import base, evaluate, export, import_adapter, merge, train
from align_sft.config import BaseConfig, EvalConfig, ExportConfig, ImportConfig, MergeConfig, TrainConfig

IMPORT = {"embedded": False, "data": None}
"""What must go when a model is given."""


def shape(name: str) -> See:
    """The shape of a weight of a model in bf16."""
    return lambda o: o.arrays("weights")[f"model.layers.0.{name}.weight"].shape


def size(o: Outcome) -> float:
    """The norm of all matrices."""
    return float(sum((value**2).sum() for value in o.arrays("weights").values() if value.ndim > 1))


def pretrained(o: Outcome) -> bool:
    """Whether the base was made here: a base that is imported says where from, and was trained elsewhere."""
    return any(metric.name == "pretraining_loss" for metric in o.artifact.manifest.metrics)


def updates(o: Outcome) -> int:
    return o.watch.updates


def saves(o: Outcome) -> int:
    return o.watch.saves


BASE = Table(
    BaseConfig,
    base.run,
    {**SMALL, "bits": 0, "steps": 3, "data": at("data")},
    {
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "model": Effect(at("base"), pretrained, to=IMPORT, want=False),
        "revision": Effect("main", refusal, given={"model": at("base"), **IMPORT}, want="ConfigError"),
        "embedded": Effect(False, pretrained, to={"model": at("base"), "data": None}, want=False),
        "data": Effect(at("data-other"), inputs("dataset")),
        "bits": (
            Effect(4, detail("quantization", "bits"), given={"bits": 8}, want=4),
            Effect(8, detail("quantization", "bits"), given={"bits": 4}, want=8),
            Effect(0, detail("quantization"), given={"bits": 4}, want=None),
        ),
        "group_size": Effect(64, detail("quantization", "group_size"), given={"bits": 4, "hidden_size": 64}, want=64),
        "license": Effect("CC0", detail("license"), want="CC0"),
        "vocab_size": Effect(320, detail("vocab_size"), want=320),  # a multiple of 64, so not rounded up
        "hidden_size": Effect(64, detail("hidden_size"), want=64),
        "num_layers": Effect(3, detail("num_layers"), want=3),
        "num_heads": Effect(4, shape("self_attn.q_proj"), want=(64, 32)),  # 4 heads of 16, from width 32
        "num_kv_heads": Effect(2, shape("self_attn.k_proj"), want=(32, 32)),
        "head_dim": Effect(8, shape("self_attn.k_proj"), want=(8, 32)),
        "intermediate_size": Effect(96, shape("mlp.gate_proj"), want=(96, 32)),
        "steps": Effect(4, column("step"), want=[1, 2, 3, 4]),
        "batch_tokens": Effect(128, content("weights")),
        "processes": Effect(2, content("weights")),  # the same sum, rounded otherwise
        "max_length": Effect(16, content("weights")),
        # After warm-up half a cosine over two steps: 0.1 + 0.9 · ½ · (1 + cos π/2) = 0.55, then 0.1.
        "learning_rate": Effect(4e-3, column("learning_rate"), given={"warmup_steps": 1}, want=[4e-3, 2.2e-3, 4e-4]),
        "warmup_steps": Effect(1, content("weights")),
        "weight_decay": Effect(9.0, size, moves=operator.lt),
        "max_grad_norm": Effect(1e-9, content("weights")),
        "seed": Effect(7, content("weights")),
        "checkpoint_every": Effect(1, saves, want=3),
        "keep_checkpoints": Effect(
            1, lambda o: o.watch.kept, given={"checkpoint_every": 1}, want=1, same=arrays("weights")
        ),
        "resume": Effect(
            "never",
            updates,  # a resumed run has one of three updates left
            given={"checkpoint_every": 1},
            want=3,
            same=arrays("weights"),
            first=interrupted,
        ),
        # A line without a loss: the run stops, or goes on without it.
        "skip_nonfinite_rows": Effect(1, refusal, fault=spoilt_row("align_sft.crew.gradient_of"), want=None),
        "track": Effect("tensorboard", tracked, want={"tracking"}),
        "track_dir": Effect(inside("watch"), tracked, given={"track": "tensorboard"}, want={"watch"}),
    },
)


def adapter_ranks(o: Outcome) -> set[int]:
    return {value.shape[1] for name, value in o.arrays("adapter").items() if name.endswith("lora_a")}


def adapted(o: Outcome) -> set[tuple[str, str]]:
    """Blocks and maps that have an adapter."""
    return {(name.split(".")[2], name.split(".")[-2]) for name in o.arrays("adapter")}


def a_size(o: Outcome) -> float:
    """The norm of A, which starts far from zero."""
    return float(sum((value**2).sum() for name, value in o.arrays("adapter").items() if name.endswith("lora_a")))


def tokens_a_step(o: Outcome) -> int:
    return o.column("tokens")[0]


MAKE = "align_sft.train.make_gradient"

TRAIN = Table(
    TrainConfig,
    train.run,
    {
        "base": at("base"),
        "data": at("data"),
        "lora_rank": 4,
        "lora_alpha": 8.0,
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "batch_size": 4,
        "gradient_accumulation_steps": 2,
        "epochs": 1,
        "max_steps": 2,
        "compile": False,
        "gradient_checkpointing": False,
        "token_budget": 16384,
        "quiet": True,
    },
    {
        "base": Effect(at("base-other"), inputs("base")),
        "data": Effect(at("data-other"), inputs("dataset")),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "checkpoint_every": Effect(1, saves, want=3),
        "keep_checkpoints": Effect(
            1, lambda o: o.watch.kept, given={"max_steps": 3, "checkpoint_every": 1}, want=1, same=arrays("adapter")
        ),
        "resume": Effect(
            "never",
            updates,  # a resumed run has one of three updates left
            given={"max_steps": 3, "checkpoint_every": 1},
            want=3,
            same=arrays("adapter"),
            first=interrupted,
        ),
        "format": Effect("genrm", tokens_a_step),
        "max_seq_length": Effect(64, lambda o: o.artifact.manifest.extensions["dropped"]["train"]["too_long"]),
        "lora_rank": Effect(2, adapter_ranks, want={2}),
        "lora_alpha": Effect(16.0, column("gradient_norm"), moves=operator.gt),
        "lora_layers": Effect(1, lambda o: {block for block, _ in adapted(o)}, want={"1"}),
        "lora_targets": Effect(
            ("q_proj", "v_proj"), lambda o: {name for _, name in adapted(o)}, want={"q_proj", "v_proj"}
        ),
        "learning_rate": Effect(5e-3, column("learning_rate"), want=[5e-3, 5e-3]),
        # Half a cosine over two steps: 0.1 + 0.9 · ½ · (1 + cos π/2) = 0.55, then 0.1.
        "schedule": Effect("cosine", column("learning_rate"), want=[5.5e-3, 1e-3]),
        "warmup_steps": Effect(4, column("learning_rate"), want=[2.5e-3, 5e-3]),
        "batch_size": Effect(
            2, passes, to={"gradient_accumulation_steps": 4}, moves=operator.gt, same=arrays("adapter")
        ),
        "gradient_accumulation_steps": Effect(1, tokens_a_step, moves=operator.lt),
        "epochs": Effect(2, lambda o: o.column("epoch")[-1], given={"max_steps": None, "batch_size": 16}, want=2),
        "max_steps": Effect(1, column("step"), want=[1]),
        "max_grad_norm": Effect(1e-9, content("adapter")),
        "weight_decay": Effect(9.0, a_size, moves=operator.lt),
        "seed": Effect(7, content("adapter")),
        # Block inputs only: the backward pass applies every map once more.
        "gradient_checkpointing": Effect(True, products, moves=operator.gt, same=arrays("adapter")),
        "token_budget": Effect(64, passes, moves=operator.gt, same=arrays("adapter")),
        "memory_limit": Effect(1e-4, refusal, want="PreflightError"),
        # A row without a loss: the run stops, or goes on without it.
        "skip_nonfinite_rows": Effect(1, refusal, fault=spoilt_row(MAKE, MAKE.replace("train", "probe")), want=None),
        "dry_run": Effect(True, forecast, want=(set(), True)),
        "track": Effect("tensorboard", tracked, want={"tracking"}),
        "track_dir": Effect(inside("watch"), tracked, given={"track": "tensorboard"}, want={"watch"}),
        # Traced once for each shape instead of run for each micro-batch.
        "compile": Effect(True, passes, given={"max_steps": 5}, moves=operator.lt, same=arrays("adapter")),
        "compute_form": Effect(
            "quantized", quantized, given={"compute_form": "dense"}, want={True}, same=arrays("adapter")
        ),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    },
)


def codes(o: Outcome) -> set[str]:
    """The number formats of a merged model's matrices."""
    return {str(v.dtype) for k, v in mx.load(str(o.artifact.file("weights"))).items() if k.endswith("proj.weight")}


MERGE = Table(
    MergeConfig,
    merge.run,
    {"policy": at("sft"), "bits": 0, "max_kl": 9.0, "max_rows": 4, "group_size": 32, "quiet": True},
    {
        "policy": Effect(at("sft-other"), inputs("policy")),
        "data": Effect(at("data-other"), inputs("dataset")),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "quiet": Effect(False, silent, want=False),
        "bits": (Effect(8, codes, want={"mlx.core.uint32"}), Effect(4, metric("kl"), moves=operator.gt)),
        "group_size": Effect(
            64,
            lambda o: o.artifact.manifest.quantization.group_size,
            given={"bits": 8, "policy": at("sft-wide")},
            want=64,
        ),
        "max_kl": Effect(0.0, refusal, given={"bits": 4}, want="VerificationError"),
        "force": Effect(True, refusal, given={"bits": 4, "max_kl": 0.0}, want=None),
        "max_rows": Effect(1, lambda o: o.artifact.metrics()[0].n, moves=operator.lt),
        "max_seq_length": Effect(64, lambda o: o.artifact.metrics()[0].n, moves=operator.lt),
        "compute_form": Effect("quantized", quantized, given={"compute_form": "dense", "bits": 8}, want={True}),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    },
)


def figure(name: str) -> See:
    return lambda o: json.loads(o.stdout)[name]


def perplexity(o: Outcome) -> dict[str, Any]:
    return {"perplexity": figure("perplexity")(o)}


GENRM = {"policy": at("sft-genrm"), "max_rows": 2}

EVAL = Table(
    EvalConfig,
    evaluate.run,
    {"policy": at("sft"), "json_output": True, "quiet": True},
    {
        "policy": Effect(at("sft-other"), figure("perplexity")),
        "data": Effect(at("data-other"), figure("perplexity")),
        "split": Effect("train", figure("n"), moves=operator.gt),
        "max_seq_length": Effect(64, figure("dropped"), moves=operator.gt),
        "max_rows": Effect(3, figure("n"), want=3),
        "max_new_tokens": Effect(2, decodings, given=GENRM, moves=operator.lt),
        "json_output": Effect(False, lambda o: o.stdout.startswith("{"), want=False),
        "quiet": Effect(False, lambda o: o.stderr == "", given=GENRM, want=False),
        "compute_form": Effect("quantized", quantized, given={"compute_form": "dense"}, want={True}, same=perplexity),
        "compute_dtype": Effect("bfloat16", number_format, given={"compute_dtype": "float32"}),
    },
)


def for_peft(o: Outcome) -> bool:
    return (o.folder / "out" / "adapter_model.safetensors").exists()


def source(o: Outcome) -> str:
    return str(json.loads((o.folder / "out" / "align-export.json").read_text())["source"]["name"])


EXPORT = Table(
    ExportConfig,
    export.run,
    {"policy": at("sft"), "quiet": True},
    {
        "policy": Effect(at("sft-other"), source, want="sft-other"),
        "out": Effect(inside("elsewhere"), lambda o: {p.name for p in o.folder.iterdir()}, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "format": Effect("peft", for_peft, want=True),
        "quiet": Effect(False, silent, want=False),
    },
)


IMPORT_ADAPTER = Table(
    ImportConfig,
    import_adapter.run,
    {"adapter": at("sft-exported"), "base": at("base"), "quiet": True},
    {
        "adapter": Effect(at("sft-other-exported"), content("adapter")),
        "base": Effect(at("base-other"), inputs("base"), given={"force": True}),
        "out": Effect(inside("elsewhere"), published, want={"elsewhere"}),
        "overwrite": Effect(True, refusal, want=None, first=finished),
        "format": Effect("genrm", detail("format"), want="genrm"),
        "force": Effect(True, refusal, given={"base": at("base-other")}, want=None),
        "quiet": Effect(False, silent, want=False),
    },
)

TABLES = [BASE, TRAIN, MERGE, EVAL, EXPORT, IMPORT_ADAPTER]


@pytest.mark.parametrize(("table", "name", "effect"), [case for table in TABLES for case in table.cases()])
def test_the_option_has_its_effect(runs: Runs, table: Table, name: str, effect: Effect) -> None:
    check(runs, table, name, effect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_option_is_in_the_table(table: Table) -> None:
    assert set(table.options) == set(table.config.model_fields)
