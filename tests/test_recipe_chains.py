"""Each recipe of a hub model, whole and in miniature: a random model of its architecture in the hub's layout (shards,
an index, the family's special tokens and template), rows in UltraFeedback's columns, and the recipe's own settings
with only sizes made small. Every step of the pipeline runs, in this process.
"""

import importlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align_contracts import open_artifact
from pipeline.plan import finished, plan
from tiny.models import make_model, save_model
from tiny.rows import turns
from tiny.templates import GEMMA, LLAMA32, QWEN3
from tiny.tokenizer import bpe_tokenizer

ROOT = Path(__file__).parents[1]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODELS = {
    "gemma-2b-ultrafeedback": ("gemma", GEMMA, "google/gemma-2b-it", "<end_of_turn>"),
    "gemma-3-1b": ("gemma3_text", GEMMA, "google/gemma-3-1b-it", "<end_of_turn>"),
    "qwen3-0.6b": ("qwen3", QWEN3, "Qwen/Qwen3-0.6B", "<|im_end|>"),
    "llama-3.2-1b": ("llama", LLAMA32, "meta-llama/Llama-3.2-1B-Instruct", "<|eot_id|>"),
}
SMALLER = (
    *("pipeline.seeds=[1]", "data.target_size=48", "data.test=6"),
    *("data.validation=8", "data.calibration=8", "data.gold=8", "base.group_size=32"),
    *("sft.epochs=1", "sft.max_steps=2", "sft.compile=false", "rm.compile=false", "rm.max_steps=2"),
    *("rm.max_new_tokens=6", "rm.calibration_prompts=8"),
    *("rl.num_iterations=2", "rl.batch_size=4", "rl.minibatches=2", "rl.eval_every=2", "rl.eval_prompts=4"),
    *("rl.max_response_length=6", "respond.max_new_tokens=6", "sweep.eval_prompts=4", "sweep.max_new_tokens=6"),
    "judge.judge=reward-model",  # instead of the API
)
"""Sizes and the judge alone: lengths of prompts, adapters, losses, controllers, cuts of the work are the recipe's."""


def rows(count: int, start: int) -> list[dict]:
    rng, made = random.Random(start), []
    kinds = ("What is the colour of fox {}?", "Put water into pot {} in 10 minutes.", "Write a poem about owl {}.")
    for i in range(start, start + count):
        question = kinds[i % 3].format(i)
        good, bad = f"The fox {i} is red, and the owl is brown.", f"Wait for {i}."
        columns = {"prompt": question, "prompt_id": f"{i:064x}", "messages": turns(question, good)}
        answers = {"chosen": turns(question, good), "rejected": turns(question, bad)}
        made.append({**columns, **answers, "score_chosen": rng.uniform(6, 9), "score_rejected": rng.uniform(1, 5)})
    return made


@pytest.fixture(scope="module")
def ultrafeedback(tmp_path_factory):
    """The dataset's repository as it lies on a disk, at its smallest."""
    folder = tmp_path_factory.mktemp("ultrafeedback_binarized")
    (folder / "data").mkdir()
    for split, count, start in (("train_prefs", 90, 0), ("test_prefs", 12, 90)):
        table = pa.Table.from_pylist(rows(count, start))
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def hub_copy(cache: Path, family: str, chat, name: str) -> Path:
    """A model as the hub's client keeps it: models--OWNER--NAME/snapshots/COMMIT."""
    folder = cache / f"models--{name.replace('/', '--')}" / "snapshots" / COMMIT
    tokenizer = bpe_tokenizer(chat)
    model, config = make_model(family, vocab=len(tokenizer))
    save_model(folder, model, config, tokenizer, shards=2)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


@pytest.fixture(scope="module", params=MODELS)
def made(request, tmp_path_factory, ultrafeedback):
    recipe, out = request.param, tmp_path_factory.mktemp(request.param)
    family, chat, name, end = MODELS[recipe]
    model = hub_copy(out / "hub", family, chat, name)
    sets = (f"data.source={ultrafeedback}", f"base.model={model}", *SMALLER)
    _, steps = plan(ROOT / "recipes" / f"{recipe}.toml", out / "artifacts", sets)
    for one in steps:
        commands = importlib.import_module(f"{one.step.script.replace('-', '_')}.cli").COMMANDS
        module, _, function = next(c.run for c in commands if c.name == one.step.command).partition(":")
        assert not getattr(importlib.import_module(module), function)(one.config), one.step.name
    return steps, end


def test_every_step_has_published_what_the_recipe_asks_for(made):
    steps, _ = made
    for one in steps:
        assert open_artifact(one.target, deep=True).name == one.step.name
        assert finished(one)  # raises where the artifact was made with another setting


def test_the_base_is_its_family_s_with_the_end_of_its_turns(made):
    from align_mlx.loading import load_base

    steps, end = made
    base = open_artifact(next(one.target for one in steps if one.step.name == "base"))
    assert (base.details.revision, base.details.license) == (COMMIT, "apache-2.0")
    resident = load_base(base.path)
    assert resident.tokenizer.convert_tokens_to_ids(end) in resident.end_tokens
    assert "strftime_now" not in resident.tokenizer.chat_template  # Llama 3.2 writes today's date


def test_both_methods_are_proved_and_compared(made):
    steps, _ = made
    paths = {one.step.name: one.target for one in steps}
    for run in ("ppo-1", "grpo-1"):
        proved = open_artifact(paths[run]).details.certificate
        assert proved.verdict == "complete"
    assert open_artifact(paths["report"]).details.runs == 2
