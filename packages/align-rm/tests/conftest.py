"""A toy preference set (good answers say "kind", bad ones "rude") and a random tiny Gemma as base and SFT policy."""

import random
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from align_contracts import open_artifact, publish
from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.resident import load_base, load_policy
from align_rm import train as train_stage
from align_rm.config import TrainConfig

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "\n", "user", "model"]
WORDS = ["kind", "rude", *(f"w{i}" for i in range(64 - len(SPECIAL) - 2))]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
CONFIG = {
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


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; ids are positions in SPECIAL + WORDS."""
    words = models.WordLevel({w: i for i, w in enumerate(SPECIAL + WORDS)}, unk_token="<unk>")
    tokenizer = Tokenizer(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL[:6]])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        chat_template=TEMPLATE,
    )


def publish_base(path: Path):
    model, rng = Model(ModelArgs.from_dict(CONFIG)), np.random.default_rng(7)
    weights = {
        name: mx.array(rng.normal(0, 0.0 if value.ndim == 1 else 0.15, value.shape).astype(np.float32))
        for name, value in sorted(tree_flatten(model.parameters()))
    }
    with publish(path, "base_model", producer="align-sft", config={}) as draft:
        file = draft.file("model.safetensors", role="weights")
        mx.save_safetensors(str(file), weights, metadata={"format": "mlx"})
        draft.write_json("config.json", CONFIG, role="config")
        scratch = path.parent / "tokenizer"
        make_tokenizer().save_pretrained(scratch)
        for found in sorted(scratch.iterdir()):
            draft.file(found.name, role=f"tokenizer_{found.name}").write_bytes(found.read_bytes())
        draft.details = {
            "architecture": "gemma",
            "hidden_size": 32,
            "num_layers": 2,
            "vocab_size": 64,
            "parameters": sum(v.size for v in weights.values()),
            "quantization": None,
            "source": "test",
            "embedded": False,
        }
    return open_artifact(path)


def publish_policy(path: Path, base, form: str = "chosen"):
    fresh = lora.fresh(load_base(base.path).maps, LoraSpec(2, 4.0, 2), mx.random.key(1))
    params = {
        name: value if name.endswith("lora_a") else 0.05 * mx.random.normal(value.shape, key=mx.random.key(i))
        for i, (name, value) in enumerate(fresh.params.items())
    }
    with publish(path, "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        lora.save(Adapter(params, fresh.scale), draft.file("adapter.safetensors", role="adapter"))
        entry = {"name": "sft", "file": "adapter.safetensors", "rank": 2, "alpha": 4.0, "layers": 2, "targets": ["q"]}
        draft.details = {"method": "sft", "form": "residual", "format": form, "adapters": [entry]}
    return open_artifact(path)


def pairs(n: int, seed: int, *, wrong: float = 0.0) -> list[dict]:
    """Pairs whose better answer has the word kind; a share `wrong` of them is labelled the other way round."""
    rng, found = random.Random(seed), []
    for i in range(n):
        filler = [" ".join(rng.choice(WORDS[2:]) for _ in range(rng.randrange(1, 6))) for _ in range(3)]
        answers = [f"{filler[1]} kind {filler[2]}", f"rude {filler[1]}"]
        if rng.random() < wrong:
            answers.reverse()
        found.append(
            {
                "prompt_id": f"{seed}-{i}",
                "prompt": filler[0],
                "chosen": answers[0],
                "rejected": answers[1],
                "score_chosen": 5.0 + rng.randrange(4),
                "score_rejected": 2.0,
                "category": "factual",
            }
        )
    return found


def publish_data(path: Path):
    splits = {
        "train": pairs(64, 1),
        "gold": pairs(64, 2),
        "validation": pairs(24, 3),
        "calibration": pairs(40, 4, wrong=0.2),
        "test": pairs(24, 5),
    }
    with publish(path, "dataset", producer="align-data", config={}) as draft:
        for name, part in splits.items():
            draft.write_jsonl(f"pairs/{name}.jsonl", part, role=f"pairs_{name}")
            prompts = [{k: row[k] for k in ("prompt_id", "prompt", "category")} for row in part]
            draft.write_jsonl(f"prompts/{name}.jsonl", prompts, role=f"prompts_{name}")
        draft.details = {
            "source": "test",
            "split_seed": 42,
            "counts": {f"pairs_{name}": len(part) for name, part in splits.items()},
            "categories": {},
            "formats": ["chosen"],
            "has_checks": False,
        }
    return open_artifact(path)


def settings(store: Path, out: Path, **kw) -> TrainConfig:
    chosen = {
        "sft": store / "sft",
        "data": store / "data",
        "out": out,
        "learning_rate": 1e-2,
        "batch_size": 16,
        "epochs": 3,
        "max_seq_length": 64,
        "max_new_tokens": 6,
        "quiet": True,
    }
    return TrainConfig(**{**chosen, **kw})


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Directory with the artifacts data, base, sft, sft-genrm and rm."""
    folder = tmp_path_factory.mktemp("store")
    publish_data(folder / "data")
    base = publish_base(folder / "base")
    publish_policy(folder / "sft", base)
    publish_policy(folder / "sft-genrm", base, form="genrm")
    train_stage.run(settings(folder, folder / "rm"))
    return folder


@pytest.fixture
def make_config(store):
    """Make settings of `align-rm train` over the toy store."""
    return lambda out, **kw: settings(store, out, **kw)


@pytest.fixture(scope="session")
def resident(store):
    """The SFT policy as a backbone; never changed by a test."""
    return load_policy(open_artifact(store / "sft"))


@pytest.fixture(scope="session")
def make_pairs():
    """The factory of toy rows."""
    return pairs
