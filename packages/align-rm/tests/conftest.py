"""A toy preference set (good answers say "kind", bad ones "rude") and a random tiny Gemma as base and SFT policy."""

import random
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from align_contracts import open_artifact
from align_mlx.adapters import LoraSpec
from align_mlx.loading import load_base, load_policy
from align_rm import train as train_stage
from align_rm.config import TrainConfig
from tiny.models import make_model
from tiny.rows import prompt_row, publish_rows
from tiny.stores import publish_base, publish_policy, random_adapter
from tiny.tokenizer import fill_words, word_tokenizer

WORDS = fill_words("kind", "rude")


def make_narrow_gemma():
    """A Gemma with plain norms, and matrices half as wide as those of the usual one."""
    model, config = make_model("gemma")
    rng = np.random.default_rng(7)
    drawn = [
        (name, mx.array(rng.normal(0, 0.0 if value.ndim == 1 else 0.15, value.shape).astype(np.float32)))
        for name, value in sorted(tree_flatten(model.parameters()))
    ]
    model.load_weights(drawn)
    return model, config


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
    files = {}
    for name, part in splits.items():
        files[f"pairs/{name}"] = part
        files[f"prompts/{name}"] = [prompt_row(row["prompt_id"], row["prompt"]) for row in part]
    publish_rows(path, files)


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
        "token_budget": 16384,
        "gradient_checkpointing": False,
        "rollout_rows": 128,
        "quiet": True,
    }
    return TrainConfig(**{**chosen, **kw})


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Directory with the artifacts data, base, sft, sft-genrm and rm."""
    folder = tmp_path_factory.mktemp("store")
    publish_data(folder / "data")
    base = publish_base(folder / "base", *make_narrow_gemma(), word_tokenizer(words=WORDS))
    worn = random_adapter(load_base(base.path).maps, 1, LoraSpec(2, 4.0, 2), size=0.05)
    publish_policy(folder / "sft", base, worn)
    publish_policy(folder / "sft-genrm", base, worn, format="genrm")
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
