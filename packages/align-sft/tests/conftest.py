"""A toy dataset and the small base that align-sft itself trains on it (hidden 32, 2 blocks), made once a session."""

import random
from pathlib import Path

import pytest

from align_mlx.loading import load_base
from align_sft import base as base_stage
from align_sft import train as train_stage
from align_sft.config import BaseConfig, TrainConfig
from tiny.rows import chat_row, publish_rows, turns

ANIMALS = ["cat", "dog", "fox", "hen", "owl", "pig"]
COLOURS = ["red", "blue", "green", "black", "white"]


def rows(n: int, seed: int) -> list[dict]:
    """Questions whose answers differ in length; the score is the number of words."""
    rng, found = random.Random(seed), []
    for i in range(n):
        animal, colour = rng.choice(ANIMALS), rng.choice(COLOURS)
        question = f"which colour has the {animal}?"
        answer = f"the {animal} is {colour}." + " it is." * rng.randrange(3)
        found.append(chat_row(f"p{i}", question, answer, float(1 + len(answer.split()))))
    return found


def genrm(row: dict) -> dict:
    question, answer = (m["content"] for m in row["messages"])
    text = f"User: {question}\n\nAssistant: {answer}\n\nAnalyze the quality of this response."
    reply = f"Score: {row['score']:.1f}/10. The response is helpful, harmless, and honest."
    return {**row, "messages": turns(text, reply)}


def publish_data(path: Path):
    train, validation = rows(24, 1), rows(8, 2)
    rng = random.Random(3)
    corpus = [f"the {rng.choice(ANIMALS)} is {rng.choice(COLOURS)}. it is." for _ in range(150)]
    corpus += ["\n".join(m["content"] for m in row["messages"]) for row in rows(50, 4)]
    files = {"corpus": [{"text": text} for text in corpus]}
    for split, part in (("train", train), ("validation", validation)):
        files |= {f"sft/{split}": part, f"genrm/{split}": map(genrm, part)}
    publish_rows(path, files, formats=("chosen", "genrm"))


SMALL = {
    "vocab_size": 192,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "group_size": 32,
    "steps": 30,
    "batch_tokens": 256,
    "max_length": 48,
    "warmup_steps": 5,
    "quiet": True,
}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Directory with the artifacts data, base (4 bits) and sft."""
    folder = tmp_path_factory.mktemp("store")
    publish_data(folder / "data")
    base_stage.run(BaseConfig(embedded=True, data=folder / "data", out=folder / "base", **SMALL))
    train_stage.run(settings(folder, folder / "sft", epochs=2))
    return folder


@pytest.fixture(scope="session")
def base_config():
    """Settings of a base of that size."""
    return SMALL


def settings(store: Path, out: Path, **kw) -> TrainConfig:
    chosen = {
        "base": store / "base",
        "data": store / "data",
        "out": out,
        "lora_rank": 4,
        "lora_alpha": 8.0,
        "learning_rate": 3e-3,
        "warmup_steps": 2,
        "epochs": 1,
        "token_budget": 16384,
        "quiet": True,
    }
    return TrainConfig(**{**chosen, **kw})


@pytest.fixture
def make_config(store):
    """Make settings of `align-sft train` over the toy base."""
    return lambda out, **kw: settings(store, out, **kw)


@pytest.fixture(scope="session")
def resident(store):
    """The toy base, never changed by a test."""
    return load_base(store / "base")


@pytest.fixture(scope="session")
def make_rows():
    """The factory of toy rows."""
    return rows
