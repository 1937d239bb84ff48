"""Other families than the embedded Gemma go through every stage: from a model directory to PPO, GRPO and responses.

Nothing in the stages names an architecture, so the same few settings serve all of them; each brings its own chat
template and byte-level tokenizer. The files are quantized to 4 bits at import, as the study stores its base.
"""

import json
import random

import pytest
from mlx import nn

from align_contracts import open_artifact
from align_eval import respond
from align_eval.config import RespondConfig
from align_mlx.loading import load_base
from align_rl import run as rl
from align_rl.config import GRPOConfig, PPOConfig
from align_rm import train as rm
from align_rm.config import TrainConfig as RMConfig
from align_sft import base as sft_base
from align_sft import merge
from align_sft import train as sft
from align_sft.config import BaseConfig, MergeConfig
from align_sft.config import TrainConfig as SFTConfig
from tiny.models import FAMILIES, make_model, save_model
from tiny.rows import chat_row, prompt_row, publish_rows
from tiny.tokenizer import bpe_tokenizer

FAMILY_NAMES = ("llama", "qwen3", "gemma2", "gemma3")
ENDS = {"llama": "<|eot_id|>", "qwen3": "<|im_end|>", "gemma2": "<end_of_turn>", "gemma3": "<end_of_turn>"}
ANIMALS, COLOURS = ("fox", "owl", "tree", "pot"), ("red", "brown", "old")
RL = {
    "num_iterations": 1,
    "batch_size": 4,
    "minibatches": 2,
    "learning_rate": 1e-3,
    "max_seq_length": 160,
    "max_prompt_length": 128,
    "max_response_length": 8,
    "lora_rank": 4,
    "lora_layers": 2,
    "eval_every": 1,
    "eval_prompts": 4,
    "quiet": True,
}


def publish_data(path):
    """Questions about colours; good answers name one, bad ones do not. One answer of training is empty, one long."""
    rng, files = random.Random(0), {}
    for split, count in (("train", 16), ("validation", 6), ("calibration", 6)):
        prompts, chats, pairs = [], [], []
        for i in range(count):
            animal, name = rng.choice(ANIMALS), f"{split}-{i}"
            question, answer = f"What colour has the {animal}?", f"The {animal} is {rng.choice(COLOURS)}."
            prompts.append(prompt_row(name, question))
            chats.append(chat_row(name, question, answer, 5.0))
            scores = {"score_chosen": 5.0, "score_rejected": 2.0, "category": "factual"}
            pairs.append({"prompt_id": name, "prompt": question, "chosen": answer, "rejected": "\nWait.", **scores})
        files |= {f"prompts/{split}": prompts, f"sft/{split}": chats, f"pairs/{split}": pairs}
    files["sft/train"] += [
        chat_row("long", "What?", "The fox is red. " * 50, 5.0),
        chat_row("none", "What?", "\n", 5.0),
    ]
    files["prompts/train"].append(prompt_row("long", "What? " * 200))
    return publish_rows(path, files)


def write_model(path, family):
    """A model directory as one would download it; gemma3 is the multimodal wrapper's."""
    kind = "gemma3_text" if family == "gemma3" else family
    tokenizer = bpe_tokenizer(FAMILIES[kind].chat)
    model, config = make_model(kind, vocab=len(tokenizer))
    if family == "gemma3":
        inside, model = model, nn.Module()
        model.language_model = inside
        config = {"model_type": "gemma3", "text_config": config, "vocab_size": len(tokenizer)}
    save_model(path, model, config, tokenizer)


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def chain(request, tmp_path_factory):
    folder, family = tmp_path_factory.mktemp(request.param), request.param
    publish_data(folder / "data")
    write_model(folder / "model", family)
    sft_base.run(BaseConfig(model=str(folder / "model"), out=folder / "base", bits=4, group_size=32))
    shared = {"data": folder / "data", "max_seq_length": 160, "quiet": True, "learning_rate": 3e-3, "compile": False}
    fit = {"lora_rank": 4, "lora_layers": 2, "warmup_steps": 1, "gradient_accumulation_steps": 1}
    sft.run(SFTConfig(base=folder / "base", out=folder / "sft", epochs=2, **fit, **shared))
    sized = {"lora_rank": 4, "lora_layers": 2, "max_new_tokens": 8, "max_steps": 3}
    rm.run(RMConfig(sft=folder / "sft", out=folder / "rm", **sized, **shared))
    inputs = {"sft": folder / "sft", "rm": folder / "rm", "data": folder / "data"}
    rl.run(PPOConfig(**inputs, out=folder / "ppo", **RL))
    rl.run(GRPOConfig(**inputs, out=folder / "grpo", K=3, **RL))
    merge.run(MergeConfig(policy=folder / "grpo", out=folder / "merged", bits=8, group_size=32))
    asked = {"data": folder / "data", "split": "validation", "max_prompt_length": 128, "max_new_tokens": 8}
    respond.run(RespondConfig(policy=folder / "merged", out=folder / "responses", quiet=True, **asked))
    return family, folder


def test_the_base_keeps_its_familys_end_of_turn(chain):
    family, folder = chain
    base = open_artifact(folder / "base", "base_model", deep=True)
    assert (base.details.architecture, base.details.hidden_size, base.details.num_layers) == (family, 32, 2)
    resident = load_base(base.path)
    assert base.details.vocab_size == resident.vocab_size == len(resident.tokenizer)
    assert resident.tokenizer.convert_tokens_to_ids(ENDS[family]) in resident.end_tokens


def test_sft_learns_and_counts_what_it_leaves_out(chain):
    policy = open_artifact(chain[1] / "sft", "policy", deep=True)
    assert policy.metric("perplexity_after") < policy.metric("perplexity_before")
    assert policy.manifest.extensions["dropped"]["train"] == {"too_long": 1, "empty": 1, "special": 0}
    assert policy.details.certificate.verdict == "complete"


def test_the_reward_model_tells_answers_apart(chain):
    model = open_artifact(chain[1] / "rm", "reward_model", deep=True)
    assert model.details.certificate.verdict == "complete"
    assert model.manifest.extensions["dropped"]["train"] == {"too_long": 0, "empty": 0, "special": 0}
    log = model.read_jsonl("log")
    assert log[-1]["loss"] < log[0]["loss"]


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_rl_starts_on_policy_and_reaches_every_tensor(chain, method):
    family, folder = chain
    policy = open_artifact(folder / method, "policy", deep=True)
    proved = policy.details.certificate
    assert proved.verdict == "complete"
    assert proved.first_ratio_error <= proved.ratio_tolerance
    assert policy.metric("prompts_dropped") == 1
    resident = load_base(folder / "base")
    end = resident.tokenizer.convert_tokens_to_ids(ENDS[family])
    point = (policy.path / "eval" / "0001.jsonl").read_text().splitlines()
    assert len(point) == 4
    for row in map(json.loads, point):
        ended = row["tokens"][-1] in resident.end_tokens
        assert row["truncated"] == (not ended)
        assert end not in row["tokens"][:-1]
        assert ENDS[family] not in row["response"]


def test_a_merged_policy_loses_little_and_answers(chain):
    family, folder = chain
    merged = open_artifact(folder / "merged", "policy", deep=True)
    assert merged.details.merge.kl < 0.02
    responses = open_artifact(folder / "responses", "responses", deep=True).read_jsonl("responses")
    assert len(responses) == 6
    ends = load_base(merged.path).end_tokens
    assert all(row["truncated"] == (row["tokens"][-1] not in ends) for row in responses)
    assert all(ENDS[family] not in row["response"] for row in responses)
