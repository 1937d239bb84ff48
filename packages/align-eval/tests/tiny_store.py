"""A random Gemma (hidden 32, 2 blocks, 64 tokens) with policies, a reward model and prompts, by the real store."""

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align_contracts import open_artifact, publish
from align_contracts.draft import Draft
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.resident import load_base

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "user", "model"]
WORDS = [f"w{i}" for i in range(64 - len(SPECIAL))]
GEMMA = {
    "model_type": "gemma",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 64,
    "eos_token_id": [1, 5],
    "bos_token_id": 2,
}
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ADAPTER = {"name": "sft", "file": "adapter.safetensors", "rank": 4, "alpha": 8.0, "layers": 2, "targets": ["q_proj"]}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; ids are positions in SPECIAL + WORDS (w0 is 9)."""
    words = models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL[:6]])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    named = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=TEMPLATE, **named)


def write_model(draft: Draft, weights: dict[str, mx.array], scratch: Path) -> None:
    """Put weights, config and tokenizer into a draft."""
    mx.save_safetensors(str(draft.file("model.safetensors", role="weights")), weights, metadata={"format": "mlx"})
    draft.write_json("config.json", GEMMA, role="config")
    make_tokenizer().save_pretrained(scratch)
    for found in sorted(scratch.iterdir()):
        draft.file(found.name, role=f"tokenizer_{found.name}").write_bytes(found.read_bytes())


def random_weights() -> dict[str, mx.array]:
    """Drawn wide, so that answers differ and end by themselves now and then."""
    rng, weights = np.random.default_rng(7), {}
    for name, value in sorted(tree_flatten(Model(ModelArgs.from_dict(GEMMA)).parameters())):
        drawn = rng.normal(0, 0.3, value.shape)
        if name == "model.norm.weight":
            drawn = rng.choice([-2.0, 0.0], value.shape)  # Gemma adds 1: signs, so that inputs are not repeated
        if name == "model.embed_tokens.weight":
            drawn[[1, 5]] *= 1.7
        weights[name] = mx.array(drawn, mx.float32)
    return weights


def random_adapter(maps, seed: int) -> Adapter:
    """An adapter that changes something: B is drawn instead of zero."""
    params = dict(lora.fresh(maps, LoraSpec(4, 8.0, 2), mx.random.key(seed)).params)
    for i, name in enumerate(sorted(k for k in params if k.endswith("lora_b"))):
        params[name] = 0.2 * mx.random.normal(params[name].shape, key=mx.random.key(1000 * seed + i))
    return Adapter(params, 2.0)


def make_prompts(root: Path, name: str, texts: Sequence[str]) -> None:
    """Publish a dataset that has test prompts only."""
    rows = [{"prompt_id": f"p{i}", "prompt": text, "category": "factual"} for i, text in enumerate(texts)]
    with publish(root / name, "dataset", producer="align-data", config={}) as draft:
        draft.write_jsonl("prompts/test.jsonl", rows, role="prompts_test")
        draft.details = {
            "source": "test",
            "split_seed": 42,
            "counts": {"prompts_test": len(rows)},
            "categories": {},
            "formats": ["chosen"],
            "has_checks": False,
        }


def make_rm(root: Path, name: str, policy, adapter: Adapter, *, backbone: str, tokenizer: str | None = None) -> None:
    """Publish a reward model with a random head."""
    inputs = {"base": policy.input("base"), "policy": policy}
    with publish(root / name, "reward_model", producer="align-rm", config={}, inputs=inputs) as draft:
        lora.save(adapter, draft.file("adapter.safetensors", role="adapter"))
        head = {"weight": 0.35 * mx.random.normal((1, 32), key=mx.random.key(3)), "bias": mx.array([1.5])}
        mx.save_safetensors(str(draft.file("head.safetensors", role="head")), head, metadata={"format": "mlx"})
        draft.tokenizer_digest = tokenizer
        draft.details = {
            "adapter": {**ADAPTER, "name": "rm"},
            "head_file": "head.safetensors",
            "backbone": backbone,
            "split": "train",
            "pairwise_accuracy": 0.5,
            "ece_before": 0.1,
            "ece_after": 0.1,
            "temperature": 1.0,
            "calibration": {"mean": 0.0, "std": 1.0, "n": 10},
            "max_length": 64,
        }


def make_store(root: Path) -> None:
    """Publish base, sft, sft-merged (the same weights in one), rm (on sft), rm-base, rm-foreign, data and empty."""
    weights = random_weights()
    with publish(root / "base", "base_model", producer="align-sft", config={}) as draft:
        write_model(draft, weights, root / ".tokenizer")
        draft.tokenizer_digest = "a" * 64
        draft.details = {
            "architecture": "gemma",
            "hidden_size": 32,
            "num_layers": 2,
            "vocab_size": 64,
            "parameters": 1,
            "quantization": None,
            "source": "test",
            "embedded": False,
        }
    base = open_artifact(root / "base")
    maps = load_base(base.path).maps
    worn = random_adapter(maps, 1)
    with publish(root / "sft", "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        lora.save(worn, draft.file("adapter.safetensors", role="adapter"))
        draft.details = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [ADAPTER]}
    sft = open_artifact(root / "sft")
    with publish(root / "sft-merged", "policy", producer="align-sft", config={}, inputs={"policy": sft}) as draft:
        merged = dict(weights)
        for name in maps:
            if pair := worn.pair(name):
                merged[f"{name}.weight"] = merged[f"{name}.weight"] + worn.scale * (pair[0] @ pair[1]).T
        write_model(draft, merged, root / ".tokenizer")
        draft.tokenizer_digest = "a" * 64
        merge = {"bits": 0, "kl": 0.0, "perplexity_before": 2.0, "perplexity_after": 2.0}
        draft.details = {"method": "sft", "form": "merged", "format": "chosen", "adapters": [], "merge": merge}
    ranker = random_adapter(maps, 2)
    make_rm(root, "rm", sft, ranker, backbone="policy")
    make_rm(root, "rm-base", sft, ranker, backbone="base")
    make_rm(root, "rm-foreign", sft, ranker, backbone="policy", tokenizer="b" * 64)
    make_prompts(root, "data", [" ".join(WORDS[i : i + 1 + i % 5]) for i in range(9)])
    make_prompts(root, "empty", [])
