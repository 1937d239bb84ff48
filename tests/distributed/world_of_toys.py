"""What all four trainings read, at unit-test size, and the settings of short runs on it."""

from pathlib import Path

import numpy as np

from align_mlx.loading import load_base
from align_rl.config import GRPOConfig, PPOConfig, RLConfig
from align_rm.config import TrainConfig as RMConfig
from align_sft.config import TrainConfig as SFTConfig
from distributed.measure import Trainings
from tiny.models import make_model
from tiny.rows import chat_row, prompt_row, publish_rows
from tiny.stores import publish_base, publish_policy, publish_rm, random_adapter
from tiny.tokenizer import fill_words, word_tokenizer

COMMON = {
    "token_budget": 64,  # several passes a batch
    "gradient_checkpointing": False,
    "compute_form": "dense",
    "compute_dtype": "float32",
    "quiet": True,
    "checkpoint_every": 1,
}


def publish_store(folder: Path) -> Path:
    """Publish base, sft and rm (a random Gemma with adapters) and data; give the folder."""
    base = publish_base(folder / "base", *make_model("gemma"), word_tokenizer())
    maps = load_base(base.path).maps
    publish_rm(folder / "rm", publish_policy(folder / "sft", base, random_adapter(maps, 1)), random_adapter(maps, 2))
    rng, files = np.random.default_rng(0), {}
    for split, count in (("train", 23), ("validation", 7), ("calibration", 9)):
        texts = [[" ".join(rng.choice(fill_words(), n)) for n in rng.integers(1, 7, 3)] for _ in range(count)]
        ids = [f"{split}-{i}" for i in range(count)]
        files[f"prompts/{split}"] = [prompt_row(name, text[0]) for name, text in zip(ids, texts, strict=True)]
        files[f"sft/{split}"] = [chat_row(name, *text[:2], 5.0) for name, text in zip(ids, texts, strict=True)]
        files[f"pairs/{split}"] = [
            {
                "prompt_id": name,
                **dict(zip(("prompt", "chosen", "rejected"), text, strict=True)),
                "score_chosen": 6.0,
                "score_rejected": 2.0,
                "category": "factual",
            }
            for name, text in zip(ids, texts, strict=True)
        ]
    publish_rows(folder / "data", files)
    return folder


def trainings(store: Path) -> Trainings:
    """Give settings of all four under which every part does something."""
    out, acting = store / "none", {"controller": "lr", "target_kl": (0.02,)}
    return Trainings(
        sft=sft_config(store, out),
        rm=rm_config(store, store / "rm", margin=0.1, centering=0.01),
        ppo=rl_config("ppo", store, out, **acting),
        grpo=rl_config("grpo", store, out, **acting),
    )


def sft_config(store: Path, out: Path, **settings: object) -> SFTConfig:
    """Settings of a short SFT: 6 rows a step, in micro-batches of 2."""
    own = {"base": store / "base", "data": store / "data", "out": out, "lora_rank": 4, "lora_alpha": 8.0, "epochs": 1}
    steps = {
        "batch_size": 2,
        "gradient_accumulation_steps": 3,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "compile": False,
    }
    return SFTConfig(**{**COMMON, **own, **steps, **settings})


def rm_config(store: Path, out: Path, **settings: object) -> RMConfig:
    """Settings of a short reward model: 5 pairs a step."""
    own = {"sft": store / "sft", "data": store / "data", "out": out, "lora_rank": 4, "lora_alpha": 8.0, "epochs": 1}
    steps = {"batch_size": 5, "learning_rate": 3e-3, "compile": False}  # a kernel for each shape takes longer
    lengths = {"max_seq_length": 32, "max_new_tokens": 6, "rollout_rows": 4}
    return RMConfig(**{**COMMON, **own, **steps, **lengths, **settings})


def rl_config(method: str, store: Path, out: Path, **settings: object) -> RLConfig:
    """Settings of a short PPO or GRPO run: 4 prompts an iteration in 2 minibatches."""
    own = {"sft": store / "sft", "rm": store / "rm", "data": store / "data", "out": out}
    steps = {"num_iterations": 3, "batch_size": 4, "minibatches": 2, "learning_rate": 3e-3, "rollout_rows": 6}
    lengths = {"max_seq_length": 32, "max_prompt_length": 16, "max_response_length": 10}
    rest = {"lora_rank": 4, "lora_alpha": 8.0, "eval_every": 2, "eval_prompts": 5}
    kind, extra = {"ppo": (PPOConfig, {}), "grpo": (GRPOConfig, {"K": 3})}[method]
    return kind(**{**COMMON, **own, **steps, **lengths, **rest, **extra, **settings})
