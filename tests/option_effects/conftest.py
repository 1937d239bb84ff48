"""One store for all tables, made by the stages themselves: a dataset, a base that learned a little, policies on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from option_effects.effects import Runs

from align_data import embedded
from align_data import run as data_stage
from align_data.config import BuildConfig
from align_rm import train as rm_stage
from align_rm.config import TrainConfig as RMConfig
from align_sft import base as base_stage
from align_sft import export
from align_sft import train as sft_stage
from align_sft.config import BaseConfig, ExportConfig
from align_sft.config import TrainConfig as SFTConfig

DATA = {"embedded_prompts": 110, "target_size": 64, "validation": 8, "calibration": 8, "gold": 8, "test": 6}
BASE = {
    "embedded": True,
    "bits": 4,
    "group_size": 32,
    "vocab_size": 256,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "head_dim": 16,
    "intermediate_size": 64,
    "batch_tokens": 256,
    "max_length": 48,
    "learning_rate": 8e-3,
    "warmup_steps": 5,
    "quiet": True,
}
SFT = {
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "warmup_steps": 1,
    "epochs": 1,
    "learning_rate": 1e-2,
    "compile": False,
    "quiet": True,
}
RM = {
    "lora_rank": 4,
    "lora_alpha": 8.0,
    "epochs": 1,
    "max_steps": 3,
    "learning_rate": 1e-2,
    "max_new_tokens": 8,
    "compile": False,
    "quiet": True,
}


def make_store(store: Path) -> None:
    """Publish data, base, sft, sft-genrm and rm, and others beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded.world, "CORPUS_LINES", 400)
        for name, seed in (("data", 42), ("data-other", 7)):
            data_stage.run(BuildConfig(out=store / name, seed=seed, quiet=True, **DATA))
    for name, more in (("base", {"steps": 80}), ("base-other", {"steps": 2}), ("base-wide", {"hidden_size": 64})):
        settings = {**BASE, "steps": 2, **more}
        base_stage.run(BaseConfig(out=store / name, data=store / "data", **settings))
    for name, base, more in (
        ("sft", "base", {}),
        ("sft-other", "base", {"seed": 7, "max_steps": 2}),
        ("sft-genrm", "base", {"format": "genrm", "max_steps": 1}),
        ("sft-wide", "base-wide", {"max_steps": 1}),
    ):
        sft_stage.run(SFTConfig(base=store / base, data=store / "data", out=store / name, **{**SFT, **more}))
    for name in ("sft", "sft-other"):
        export.run(ExportConfig(policy=store / name, out=store / f"{name}-exported", quiet=True))
    for name, sft, seed in (("rm", "sft", 42), ("rm-again", "sft", 7), ("rm-other", "sft-other", 42)):
        rm_stage.run(RMConfig(sft=store / sft, data=store / "data", out=store / name, seed=seed, **RM))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Run tables over the store; runs lie elsewhere, so inputs are found through the store's variable."""
    root = tmp_path_factory.mktemp("options")
    for name in ("store", "runs"):
        (root / name).mkdir()
    make_store(root / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGN_STORE", str(root / "store"))
        yield Runs(root / "runs", root / "store")
