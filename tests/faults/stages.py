"""The five trainings, each a matter of seconds, over one small store.

Runs are done in forked children, so that the parent stays fit for forking; what a run leaves is compared by sha256.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from pydantic import BaseModel

import align_rl.run
import align_rm.train
import align_sft.base
import align_sft.pretrain
import align_sft.train
from align_contracts import open_artifact
from align_mlx import checkpoints
from align_mlx.loading import load_base
from align_rl.config import GRPOConfig, PPOConfig
from align_rm.config import TrainConfig as RMConfig
from align_sft.config import BaseConfig
from align_sft.config import TrainConfig as SFTConfig
from tiny.models import make_model
from tiny.rows import Row, chat_row, prompt_row, publish_rows
from tiny.stores import publish_base, publish_policy, publish_rm, random_adapter
from tiny.tokenizer import fill_words, word_tokenizer

TIMES = ("seconds", "phases", "active_memory_bytes", "peak_memory_bytes")
"""What two runs of the same settings may differ in."""
COMMON = {
    "learning_rate": 1e-2,
    "checkpoint_every": 2,
    "quiet": True,
}
PASSES = {"token_budget": 256, "gradient_checkpointing": False}
"""How those cut their work that learn on a base."""
RL = {
    **PASSES,
    "sft": "sft",
    "rm": "rm",
    "num_iterations": 5,
    "batch_size": 4,
    "minibatches": 2,
    "max_seq_length": 32,
    "max_prompt_length": 16,
    "max_response_length": 10,
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "eval_every": 2,
    "eval_prompts": 5,
    "rollout_rows": 6,
}


@dataclass(frozen=True)
class Stage:
    """A training stage.

    Attributes:
        name: of the stage.
        config: its settings' type.
        run: trains and publishes.
        settings: what is not left as it is; inputs are names in the store.
    """

    name: str
    config: type[BaseModel]
    run: Callable[[Any], int]
    settings: dict[str, Any]

    def configure(self, store: Path, out: Path, **changes: Any) -> Any:
        """Give the settings of a run."""
        given = {**COMMON, "data": "data", **self.settings, **changes}
        paths = {name: store / str(given[name]) for name in ("base", "sft", "rm", "data") if name in given}
        return self.config(**{**given, **paths, "out": out})


STAGES = (
    Stage(
        "base",
        BaseConfig,
        align_sft.base.run,
        {
            "embedded": True,
            "vocab_size": 192,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 2,
            "head_dim": 16,
            "intermediate_size": 64,
            "group_size": 32,
            "steps": 8,
            "batch_tokens": 64,
            "warmup_steps": 2,
        },
    ),
    Stage(
        "sft",
        SFTConfig,
        align_sft.train.run,
        {
            **PASSES,
            "base": "base",
            "lora_rank": 4,
            "lora_alpha": 8.0,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "epochs": 2,
            "warmup_steps": 2,
            "weight_decay": 0.01,
            "compile": False,  # compilers of kernels would take most of the time
        },
    ),
    Stage(
        "rm",
        RMConfig,
        align_rm.train.run,
        {
            **PASSES,
            "sft": "sft",
            "batch_size": 8,
            "max_seq_length": 64,
            "max_new_tokens": 6,
            "calibration_prompts": 8,
            "rollout_rows": 4,
            "centering": 0.01,
            "compile": False,
        },
    ),
    Stage("ppo", PPOConfig, align_rl.run.run, {**RL, "controller": "pullback"}),
    Stage("grpo", GRPOConfig, align_rl.run.run, {**RL, "K": 3, "controller": "lr", "target_kl": (0.002,)}),
)


def make_store(folder: Path) -> None:
    """Publish base, sft, rm and data, and others of each (``base-other``) that differ in a little."""
    folder.mkdir()
    base = publish_base(folder / "base", *make_model("gemma"), word_tokenizer())
    other = publish_base(folder / "base-other", *make_model("gemma", seed=8), word_tokenizer())
    maps = load_base(base.path).maps
    sft = publish_policy(folder / "sft", base, random_adapter(maps, 1))
    elsewhere = publish_policy(folder / "sft-other-base", other, random_adapter(maps, 1))
    moved = publish_policy(folder / "sft-other", base, random_adapter(maps, 4))
    publish_rm(folder / "rm", sft, random_adapter(maps, 2))
    publish_rm(folder / "rm-other", sft, random_adapter(maps, 2), weight=0.36)
    publish_rm(folder / "rm-moved", moved, random_adapter(maps, 2))
    publish_rm(folder / "rm-other-base", elsewhere, random_adapter(maps, 2))
    publish_data(folder / "data")
    publish_data(folder / "data-other", seed=1)


def publish_data(path: Path, seed: int = 0) -> None:
    """Publish a dataset with everything that a stage reads: chats, pairs and prompts of a few words each."""
    rng = np.random.default_rng(seed)

    def words() -> str:
        return " ".join(rng.choice(fill_words(), int(rng.integers(1, 9))))

    def pair(name: str) -> Row:
        texts = dict.fromkeys(("prompt", "chosen", "rejected"))
        scores = {"score_chosen": 5.0 + float(rng.integers(3)), "score_rejected": 2.0}
        return {"prompt_id": name, **{key: words() for key in texts}, **scores, "category": "factual"}

    files: dict[str, list[Row]] = {}
    for split, count in (("train", 30), ("validation", 8), ("calibration", 10)):
        names = [f"{split}{i}" for i in range(count)]
        files[f"pairs/{split}"] = [pair(name) for name in names]
        files[f"prompts/{split}"] = [prompt_row(name, words()) for name in names]
        if split != "calibration":
            files[f"sft/{split}"] = [chat_row(name, words(), words(), 5.0) for name in names]
    publish_rows(path, {**files, "corpus": [{"text": words()} for _ in range(60)]})


@contextmanager
def kept_folder(place: Path) -> Iterator[None]:
    """Keep the run folder of a finished run at a place instead of removing it."""
    remove = checkpoints.remove

    def keep(path: Path) -> None:
        if not path.name.endswith(".run"):
            remove(path)
            return
        shutil.rmtree(place, ignore_errors=True)  # of a run that was killed right after its end
        path.rename(place)

    with patch.object(checkpoints, "remove", keep):
        yield


def finish(stage: Stage, store: Path, out: Path, **changes: Any) -> dict[str, str]:
    """Run a stage to its end; give what it made, times aside, by part as sha256.

    Parts: the artifact's content, weights, moments and best weights of the last checkpoint, everything else in its
    state, and the log.
    """
    kept = out.with_name(f"{out.name}.kept")
    with kept_folder(kept):
        stage.run(stage.configure(store, out, **changes))
    last = checkpoints.numbered(kept / "checkpoints")[0]
    arrays = {name: last / f"{name}.safetensors" for name in ("params", "optimizer", "best")}
    made = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in arrays.items()}
    lines = (kept / "train.jsonl").read_text().splitlines()
    return {
        "content": open_artifact(out).content_digest,
        **made,
        "state": _sha256(_untimed(json.loads((last / "state.json").read_text()))),
        "log": _sha256(_untimed([json.loads(line) for line in lines])),
    }


def _untimed(value: Any) -> Any:
    """Leave times and memory out, at any depth."""
    if isinstance(value, dict):
        return {key: _untimed(one) for key, one in value.items() if key not in TIMES}
    return [_untimed(one) for one in value] if isinstance(value, list) else value


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
