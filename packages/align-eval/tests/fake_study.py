"""A whole study made of tiny artifacts, through the real store: enough for judge and compare."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from align_contracts import Artifact, open_artifact, publish

CATEGORIES = ("factual", "instruction", "creative")
SEEDS = (42, 123, 777)
WORDS = ("amber", "birch", "cedar", "dune", "ember")
STEPS = (0, 50, 100, 150, 200)
RL_CONFIG = {
    "num_iterations": 200,
    "batch_size": 16,
    "minibatches": 4,
    "learning_rate": 5e-6,
    "ppo_epochs": 1,
    "warmup_iterations": 0,
    "max_grad_norm": 0.5,
    "temperature": 1.0,
    "truncation_penalty": 0.0,
    "mask_truncated": False,
    "lora_rank": 16,
    "lora_alpha": 32.0,
    "lora_layers": 16,
    "lora_targets": [],
    "clip_range": 0.2,
    "clip_range_high": None,
    "kl_estimator": "k3",
    "kl_coef": 0.05,
    "eval_every": 50,
    "eval_prompts": 200,
    "compute_form": "auto",
    "compute_dtype": "auto",
    "max_seq_length": 512,
    "max_prompt_length": 256,
    "max_response_length": 256,
    "kl_schedule": "phased",
    "target_kl": [0.05, 0.02, 0.01],
    "controller": "lr",
    "selection": "reward",
    "control": "none",
    "token_budget": 16384,
}
OWN = {"ppo": {"gae_lambda": 0.95, "value_coef": 0.5}, "grpo": {"K": 6}, "null": {}}
CHECKS = {"items": [{"kind": "contains_all", "weight": 1.0, "words": [word]} for word in WORDS]}


def certificate(tensors: int, live_updates: int, **changed: Any) -> dict[str, Any]:
    """What a training run of so many tensors proved; `changed` as of a run that is short, or of RL."""
    plain = {"verdict": "complete", "tensors": tensors, "alive": tensors, "waiting": [], "live_updates": live_updates}
    return plain | changed


def write_safetensors(path: Path, shape: tuple[int, ...], value: float = 1.0) -> None:
    """One F32 tensor named "w", written by hand: eight bytes of header length, the header, the numbers."""
    count = math.prod(shape)
    header = json.dumps({"w": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 4 * count]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{count}f", *[value] * count))


def answer(rng: np.random.Generator, skill: float) -> str:
    """A sentence with each of the wanted words at a chance of `skill`."""
    named = [word for word in WORDS if rng.random() < skill]
    return " ".join(["Here", *named, *["so"] * int(rng.integers(0, 6))]) + "."


def kept_answer(rng: np.random.Generator, prompt_id: str, skill: float, critic: bool) -> dict[str, Any]:
    """What a run keeps of an answer at an evaluation point; only PPO has values and advantages."""
    text = answer(rng, skill)
    size = len(text.split())
    names = ("logprobs", "ref_logprobs", *(("values", "advantages") if critic else ()))
    arrays = {name: [round(float(x), 6) for x in rng.normal(-1, 0.3, size)] for name in names}
    reward = round(len(set(text.split()) & set(WORDS)) + float(rng.normal(0, 0.2)), 6)
    row = {"prompt_id": prompt_id, "response": text, "tokens": list(range(size)), "truncated": False, "reward": reward}
    return row | arrays


def lesson(rng: np.random.Generator, prompt_id: str, method: str) -> list[dict[str, Any]]:
    """What a run keeps of a training rollout: PPO one answer to a prompt, GRPO a group with its advantages."""
    if method != "grpo":
        return [kept_answer(rng, prompt_id, 0.5, critic=True)]
    rows = [kept_answer(rng, prompt_id, 0.5, critic=False) for _ in range(4)]
    rewards = [row["reward"] for row in rows]
    mean = sum(rewards) / 4
    return [
        row | {"advantages": [row["reward"] - mean] * len(row["tokens"]), "group": {"place": k, "rewards": rewards}}
        for k, row in enumerate(rows)
    ]


class FakeStudy:
    """Builds artifacts under one directory; every method takes what a test wants to be different."""

    def __init__(self, root: Path, *, prompts: int = 60, validation: int = 30, checks: bool = True) -> None:
        self.root, self.count, self.validation = root, prompts, validation
        self.data = self._data(checks)
        with publish(root / "base", "base_model", producer="test", config={}) as draft:
            write_safetensors(draft.file("model.safetensors", role="weights"), (2, 2))
            draft.details = {
                "architecture": "gemma", "hidden_size": 2, "num_layers": 1, "vocab_size": 2, "parameters": 4,
                "quantization": None, "source": "embedded", "embedded": True,
            }  # fmt: skip
        self.base = open_artifact(root / "base")
        self.sft = self.make_sft("sft")
        self.rm = self.make_rm("rm")

    def _data(self, checks: bool) -> Artifact:
        with publish(self.root / "data", "dataset", producer="test", config={"split_seed": 42}) as draft:
            for split, count in (("test", self.count), ("validation", self.validation)):
                draft.write_jsonl(f"prompts/{split}.jsonl", self.prompts(split, count, checks), role=f"prompts_{split}")
            draft.details = {
                "source": "embedded", "split_seed": 42, "counts": {"prompts_test": self.count}, "categories": {},
                "formats": ["chosen"], "has_checks": checks,
            }  # fmt: skip
        return open_artifact(self.root / "data")

    @staticmethod
    def prompts(split: str, count: int, checks: bool = True) -> list[dict[str, Any]]:
        rows = []
        for i in range(count):
            row: dict[str, Any] = {"prompt_id": f"{split}-{i}", "prompt": f"Name the woods, {split} {i}."}
            row["category"] = CATEGORIES[i * len(CATEGORIES) // count]
            rows.append(row | ({"checks": CHECKS} if checks else {}))
        return rows

    def make_sft(self, name: str, value: float = 1.0) -> Artifact:
        inputs = {"base": self.base, "dataset": self.data}
        with publish(self.root / name, "policy", producer="test", config={"rank": 2}, inputs=inputs) as draft:
            write_safetensors(draft.file("adapter.safetensors", role="adapter"), (2, 2), value)
            draft.details = {
                "method": "sft", "form": "residual", "format": "chosen", "adapters": [], "seed": None,
                "selection": None, "merge": None, "certificate": certificate(28, 2),
            }  # fmt: skip
            draft.metric("perplexity_before", 9.31, n=200)
            draft.metric("perplexity_after", 4.87, n=200)
        return open_artifact(self.root / name)

    def make_rm(self, name: str, value: float = 2.0, policy: Artifact | None = None) -> Artifact:
        inputs = {"base": self.base, "policy": policy or self.sft, "dataset": self.data}
        with publish(self.root / name, "reward_model", producer="test", config={}, inputs=inputs) as draft:
            write_safetensors(draft.file("adapter.safetensors", role="adapter"), (2, 2), value)
            write_safetensors(draft.file("head.safetensors", role="head"), (1, 2))
            draft.details = {
                "adapter": {
                    "name": "rm", "file": "adapter.safetensors", "rank": 2, "alpha": 4.0, "layers": 1, "targets": ["q"],
                },
                "head_file": "head.safetensors", "backbone": "policy", "split": "train", "pairwise_accuracy": 0.861,
                "ece_before": 0.12, "ece_after": 0.031, "temperature": 1.42,
                "calibration": {"mean": 0.1, "std": 1.1, "n": 200}, "max_length": 64,
                "certificate": certificate(29, 3),
            }  # fmt: skip
        return open_artifact(self.root / name)

    def make_policy(
        self,
        method: str,
        seed: int,
        *,
        gain: float = 0.15,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        sft: Artifact | None = None,
        rm: Artifact | None = None,
        data: Artifact | None = None,
        control: str = "none",
        evaluations: bool = True,
        seconds: float | None = None,
        iterations: int = 200,
        dropped: Mapping[str, Any] | None = None,
        sft_value: float = 1.0,
        lessons: bool = True,
    ) -> Artifact:
        sft, rm, data = sft or self.sft, rm or self.rm, data or self.data
        rng = np.random.default_rng([seed, len(method)])
        name = name or f"{method}-{seed}"
        resolved = {**RL_CONFIG, **OWN[method], "seed": seed, "control": control, **(config or {})}
        inputs = {"base": self.base, "policy": sft, "reward_model": rm, "dataset": data}
        with publish(self.root / name, "policy", producer="test", config=resolved, inputs=inputs) as draft:
            write_safetensors(draft.file("adapter.safetensors", role="adapter"), (40, 10), float(seed))
            write_safetensors(draft.file("sft.safetensors", role="adapter_sft"), (2, 2), sft_value)
            if method == "ppo":
                write_safetensors(draft.file("critic.safetensors", role="critic"), (20, 10))
            curve = []
            for step in STEPS:
                done = step / STEPS[-1]
                kl = 0.0 if step == 0 else 0.035 * done**1.5 * (1 + 0.2 * rng.random()) * (control == "none")
                point = {
                    "iteration": step, "kl": kl, "kl_k1": kl, "perplexity": 4.87 + 0.9 * kl + 0.01 * rng.random(),
                    "reward_mean": 0.1 + 6 * gain * done + 0.08 * rng.random(),
                    "response_length_mean": 12 + 2 * done + rng.random(), "truncated_rate": 0.0, "target_kl": 0.05,
                    "selected": step == STEPS[-1],
                }  # fmt: skip
                curve.append(point)
                if evaluations:
                    rows = [
                        kept_answer(rng, f"validation-{i}", 0.45 + gain * done, critic=method == "ppo")
                        for i in range(self.validation)
                    ]
                    draft.write_jsonl(f"eval/{step:04d}.jsonl", rows, role=f"eval_{step:04d}_responses")
                    if step and lessons:
                        rows = lesson(rng, "validation-0", method)
                        draft.write_jsonl(f"eval/{step:04d}_rollout.jsonl", rows, role=f"eval_{step:04d}_rollout")
            draft.write_jsonl("curve.jsonl", curve, role="curve")
            answers = 6 if method == "grpo" else 1
            log = [
                {
                    "iteration": i + 1, "reward_mean": gain * i / 200 + 0.1 * rng.random(), "kl": 0.01 * rng.random(),
                    **({"explained_variance": i / 20} if method == "ppo" else {}),
                    "responses": 16 * answers, "response_tokens": 200 * answers, "seconds": 1.0,
                }
                for i in range(20)
            ]  # fmt: skip
            draft.write_jsonl("train.jsonl", log, role="log", volatile=True)
            for key in ("kl", "perplexity", "reward_mean", "response_length_mean"):
                draft.metric(key, curve[-1][key], step=STEPS[-1], n=self.validation)
            draft.metric("iterations", iterations)
            draft.extensions["dropped"] = dropped or {"train": {"too_long": 0}}
            draft.metric("controller_actions", int(rng.integers(0, 30)))
            draft.metric("training_seconds", seconds or (95.0 if method == "ppo" else 71.0) + 4 * rng.random())
            draft.metric("peak_memory_bytes", 712_000_000 if method == "ppo" else 498_000_000)
            draft.seeds = [seed]
            tensors = 58 if method == "ppo" else 28
            error = round(1e-7 * (1 + rng.random()), 10)
            proved = certificate(
                tensors, 2, first_ratio_error=error, first_ratio_error_max=12 * error, ratio_tolerance=1e-4
            )
            if control == "null":
                waiting = [f"tensor-{i}" for i in range(tensors)]
                proved |= {"verdict": "null control", "alive": 0, "waiting": waiting, "live_updates": 0}
            draft.details = {
                "method": method, "form": "residual", "format": "chosen", "adapters": [], "seed": seed,
                "control": control, "merge": None, "certificate": proved,
                "selection": {
                    "rule": "reward", "step": STEPS[-1], "gate_passed": True, "kl": curve[-1]["kl"],
                    "perplexity": curve[-1]["perplexity"], "reward": curve[-1]["reward_mean"],
                },
            }  # fmt: skip
        return open_artifact(self.root / name)

    def make_responses(
        self,
        policy: Artifact,
        *,
        skill: float,
        seed: int = 0,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        data: Artifact | None = None,
        rm: Artifact | None = None,
        scored: bool = True,
        longer: int = 1,
        texts: Sequence[str] | None = None,
    ) -> Artifact:
        rng = np.random.default_rng([seed, sum(policy.name.encode())])
        data, rm = data or self.data, rm or self.rm
        settings = {"split": "test", "temperature": 0.7, "max_new_tokens": 256, "sampling_seed": seed, **(config or {})}
        answers = []
        for i, row in enumerate(rows or data.read_jsonl("prompts_test")):
            text = texts[i] if texts else answer(rng, skill)
            length = longer * (len(text) // 4)
            reward = round(5 * skill + 0.5 * len(set(text.split()) & set(WORDS)) + float(rng.normal()), 6)
            answers.append(
                {
                    "prompt_id": row["prompt_id"], "prompt": row["prompt"], "category": row["category"],
                    "response": text, "tokens": [1] * length, "length": length, "truncated": False,
                    "reward": reward if scored else None,
                }
            )  # fmt: skip
        inputs = {"base": self.base, "policy": policy, "dataset": data, **({"reward_model": rm} if scored else {})}
        name = name or f"responses-{policy.name}"
        with publish(self.root / name, "responses", producer="test", config=settings, inputs=inputs) as draft:
            draft.write_jsonl("responses.jsonl", answers, role="responses")
            draft.seeds = [seed]
            draft.details = {
                "policy_method": policy.details.method, "seed": policy.details.seed, "prompts": len(answers),
                "split": "test", "temperature": settings["temperature"], "top_p": 1.0, "max_new_tokens": 256,
                "sampling_seed": seed, "scored": scored,
            }  # fmt: skip
        return open_artifact(self.root / name)
