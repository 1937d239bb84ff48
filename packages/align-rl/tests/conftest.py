"""What an RL run reads, at unit-test size and published by the real store: a random Gemma (hidden 32, 2 blocks,
64 tokens) as base, an SFT policy, reward models on it, and a dataset."""

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import open_artifact
from align_mlx.compute import Compute
from align_mlx.loading import load_base, load_policy
from align_mlx.reward import load_scorer
from align_mlx.rollout import Draw
from align_mlx.train_state import TrainState
from align_rl import data as rl_data
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.methods.actor import actor_adapter
from align_rl.methods.make import make_method
from align_rl.rollout import collect
from tiny.models import make_model, quantize
from tiny.rows import chat_row, prompt_row, publish_rows
from tiny.stores import MERGE, publish_base, publish_policy, publish_rm, random_adapter
from tiny.tokenizer import fill_words, word_tokenizer

SETTINGS = {
    "num_iterations": 3,
    "batch_size": 4,
    "minibatches": 2,
    "learning_rate": 1e-2,
    "max_seq_length": 32,
    "max_prompt_length": 16,
    "max_response_length": 10,
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "eval_every": 2,
    "eval_prompts": 5,
    "token_budget": 16384,
    "gradient_checkpointing": False,
    "rollout_rows": 128,
    "compute_form": "dense",
    "compute_dtype": "float32",
    "quiet": True,
}


def publish_data(path: Path, train: int = 10):
    """`train` prompts of 1–5 words to learn on (the last one far too long), 7 to validate with chosen answers."""
    rng = np.random.default_rng(0)

    def words(n: int) -> str:
        return " ".join(rng.choice(fill_words(), n))

    prompts = [prompt_row(f"t{i}", words(1 + i % 5)) for i in range(train)]
    prompts[-1]["prompt"] = words(40)
    validation = [prompt_row(f"v{i}", words(1 + i % 5), "creative") for i in range(7)]
    answers = [chat_row(row["prompt_id"], row["prompt"], words(1 + i), 5.0) for i, row in enumerate(validation)]
    publish_rows(path, {"prompts/train": prompts, "prompts/validation": validation, "sft/validation": answers})


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """Artifacts base, sft, rm, data; base4, sft4, rm4 on 4 bits; and wrong ones: -other, -genrm, -merged, …"""
    folder = tmp_path_factory.mktemp("store")
    base = publish_base(folder / "base", *make_model("gemma"), word_tokenizer())
    maps = load_base(base.path).maps
    sft = publish_policy(folder / "sft", base, random_adapter(maps, 1))
    other = publish_policy(folder / "sft-other", base, random_adapter(maps, 4))
    genrm = publish_policy(folder / "sft-genrm", base, random_adapter(maps, 5), format="genrm")
    merged = publish_policy(folder / "sft-merged", base, random_adapter(maps, 1), form="merged", merge=MERGE)
    ranker = random_adapter(maps, 2)
    publish_rm(folder / "rm", sft, ranker)
    publish_rm(folder / "rm-flipped", sft, ranker, weight=-0.35, bias=-1.5, mean=-1.5)
    publish_rm(folder / "rm-base", sft, ranker, backbone="base")
    publish_rm(folder / "rm-other", other, ranker)
    publish_rm(folder / "rm-genrm", genrm, ranker)
    publish_rm(folder / "rm-merged", merged, ranker)
    small = publish_base(folder / "base4", *quantize(*make_model("gemma")), word_tokenizer())
    publish_rm(folder / "rm4", publish_policy(folder / "sft4", small, random_adapter(maps, 1)), ranker)
    publish_data(folder / "data")
    publish_data(folder / "tiny-data", train=1)
    return folder


@pytest.fixture(scope="session")
def settings():
    """The settings of a small run."""
    return SETTINGS


@pytest.fixture
def configure(store, tmp_path):
    """Make a config of a small run: configure("ppo", learning_rate=…)."""

    def make(method: str, **settings):
        kind = {"ppo": PPOConfig, "grpo": GRPOConfig}[method]
        paths = {"sft": store / "sft", "rm": store / "rm", "data": store / "data", "out": tmp_path / "out"}
        extra = {"K": 3} if method == "grpo" else {}
        return kind(**{**paths, **SETTINGS, **extra, **settings})

    return make


@pytest.fixture(scope="session")
def resident(store):
    """The SFT policy, dense fp32; never changed by a test."""
    return load_policy(open_artifact(store / "sft"), Compute(mx.float32, dense=True))


@pytest.fixture(scope="session")
def scorer(store, resident):
    """The reward model over it."""
    return load_scorer(open_artifact(store / "rm"), resident)


@pytest.fixture
def start(store, resident, scorer):
    """Begin a run by hand: start(config) gives (method, state, rollout of the first four training prompts).

    The actor's B is drawn instead of zero, as if some updates were done.
    """

    def begin(config, rm: str | None = None, *, moved: bool = True):
        model = scorer if rm is None else load_scorer(open_artifact(store / rm), resident)
        method = make_method(config, resident, model)
        state = TrainState.start(method.params(mx.random.key(config.seed)))
        if moved:
            moving = {f"actor.{k}": v for k, v in random_adapter(resident.maps, 6, size=0.05).params.items()}
            state.params = {**state.params, **moving}
        prompts = rl_data.load(open_artifact(config.data), resident, config).train[: config.batch_size]
        actor = actor_adapter(state.params, config)
        rollout = collect(resident, actor, model, prompts, config, draw=Draw(config.seed), answers=method.answers)
        return method, state, rollout

    return begin
