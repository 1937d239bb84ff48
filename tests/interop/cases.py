"""Policies to try, made by the stages themselves and, for other architectures, by hand; and our logits of them."""

import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np

from align_contracts import Artifact, open_artifact, publish
from align_mlx import adapters as lora
from align_mlx.adapters import LoraSpec
from align_mlx.compute import Compute
from align_mlx.loading import base_maps, load_base, load_policy
from tiny.models import FAMILIES, make_model
from tiny.stores import adapter_entry, publish_base, random_adapter
from tiny.tokenizer import word_tokenizer

RECIPE = Path(__file__).parents[1] / "tiny.toml"
EXACT = Compute(mx.float32, dense=True)
IDS = [[2, 7, 8, 9, 30, 40, 50, 60, 21, 33, 12], [2, 40, 11, 9, 9, 31, 10, 63, 15, 44, 13]]
OTHERS = ("gemma2", "llama", "qwen3", "mistral")
"""Architectures beside the chain's own Gemma."""


def align(command: str, *arguments: str | Path) -> None:
    """Run a console script; its words are shown only if it fails."""
    name, *rest = command.split()
    program = [str(Path(sys.executable).parent / name), *rest, *map(str, arguments)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def chain(store: Path) -> None:
    """Data, a 4-bit base that has learned a little, SFT, reward model and GRPO, by the console scripts."""
    recipe = ("--config", RECIPE)
    data, base, sft, rm = (store / name for name in ("data", "base", "sft", "rm"))
    align("align-data build", *recipe, "--quiet", "--out", data)
    align("align-sft base", *recipe, "--steps", "500", "--data", data, "--out", base)
    align("align-sft train", *recipe, "--base", base, "--data", data, "--max-steps", "10", "--out", sft)
    align("align-rm train", *recipe, "--sft", sft, "--data", data, "--out", rm)
    rate = ("--learning-rate", "0.01")
    inputs = ("--sft", sft, "--rm", rm, "--data", data)
    align("align-rl grpo", *recipe, *rate, *inputs, "--out", store / "rl")
    align("align-rl grpo --track tensorboard", *recipe, *rate, *inputs, "--out", store / "tracked")


def other(family: str, store: Path) -> Artifact:
    """A random model of a family; its SFT adapter on all blocks lies under one of rank 3 on two maps of the last."""
    model, config = make_model(family)
    base = publish_base(store / f"base-{family}", model, config, word_tokenizer(FAMILIES[family].chat))
    maps = base_maps(base.path)
    first = random_adapter(maps, 1, LoraSpec(4, 8.0, 2), size=0.1)
    second = random_adapter(maps, 2, LoraSpec(3, 2.1, 1, ("q_proj", "down_proj")), size=0.1)
    with publish(store / family, "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        entries = []
        for name, adapter in (("sft", first), ("policy", second)):
            lora.save(adapter, draft.file(f"{name}.safetensors", role=f"adapter_{name}"))
            entries.append({**adapter_entry(adapter, name), "file": f"{name}.safetensors"})
        draft.details = {"method": "grpo", "form": "residual", "format": "chosen", "adapters": entries, "seed": 1}
    return open_artifact(store / family)


def logits(policy: Artifact, *, bare: bool = False) -> np.ndarray:
    """Our fp32 logits of `IDS`; `bare` without adapters."""
    resident = load_policy(policy, EXACT)
    if bare:
        resident = load_base(policy.input("base").path, EXACT)
    return np.array(resident.logits(resident.hidden(mx.array(IDS))))


def close(ours: np.ndarray, theirs: np.ndarray) -> tuple[str, bool]:
    """The figure of two arrays of logits, and whether they differ by the rounding of fp32 only."""
    worst, size = float(np.abs(ours - theirs).max()), float(np.abs(ours).max())
    return f"max |Δ logit| {worst:.1e} of {size:.1f}", worst <= 1e-4 * size
