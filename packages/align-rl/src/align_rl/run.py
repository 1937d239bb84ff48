"""A run from artifacts to artifact: open, train, publish."""

import json
import shutil
import sys
import time
from typing import Any

import mlx.core as mx

from align_contracts import Artifact, open_artifact, publish
from align_contracts.errors import ConfigError
from align_mlx import adapters as lora
from align_mlx import liveness
from align_mlx.adapters import Adapter
from align_mlx.compute import bound_memory
from align_mlx.progress import Meter
from align_mlx.train_state import TrainState
from align_rl.code_size import method_lines
from align_rl.config import PPOConfig, RLConfig
from align_rl.dry_run import forecast
from align_rl.evaluation import Evaluator
from align_rl.loop import Record
from align_rl.methods.actor import actor_adapter, part_of
from align_rl.methods.base import Method
from align_rl.methods.ppo import CRITIC, HEAD, PPO
from align_rl.prepare import prepare


def run(config: RLConfig) -> int:
    """Train a policy with PPO or GRPO, as the type of `config` says, and publish it.

    Raises:
        ConfigError: settings that contradict each other or the inputs.
        DivergedError: training went non-finite, or failed a proof that it carries.
    """
    bound_memory(config.memory_limit)
    sft, rm = open_artifact(config.sft, kind="policy"), open_artifact(config.rm, kind="reward_model")
    data = open_artifact(config.data, kind="dataset")
    require_inputs(config, sft, rm)
    require_prompts(config, data)
    if config.dry_run:
        print(forecast(prepare(config, sft, rm, data)))
        return 0
    with publish(
        config.out,
        "policy",
        producer="align-rl",
        config=config,
        inputs={"base": sft.input("base"), "policy": sft, "reward_model": rm, "dataset": data},
        overwrite=config.overwrite,
    ) as draft:
        start = time.perf_counter()
        ready = prepare(config, sft, rm, data)
        config = draft.config = ready.config
        method, state = ready.method, ready.state
        evaluator = ready.evaluator(draft.dir / "eval")
        mx.reset_peak_memory()
        log_path = draft.file("train.jsonl", role="log", volatile=True)
        label = f"{method.name} seed {config.seed}"
        with (
            Meter(label, config.num_iterations, unit="iteration", quiet=config.quiet) as meter,
            log_path.open("w") as log,
        ):

            def record(row: Record) -> None:
                log.write(json.dumps(row, allow_nan=False) + "\n")
                log.flush()
                meter.advance(reward=row["reward_mean"], kl=row["kl"], target=row["target_kl"])

            ready.train(evaluate=evaluator, log=record, keep=ready.keeper(evaluator.folder))
        write(draft, sft, evaluator, method, state)
        draft.metric("training_seconds", time.perf_counter() - start)
        draft.metric("peak_memory_bytes", mx.get_peak_memory())
        draft.metric("prompts_dropped", sum(ready.rows.dropped["train"].values()))
        draft.extensions["dropped"] = ready.rows.dropped
        if not config.quiet:
            print(liveness.sentence(draft.details.certificate), file=sys.stderr)
    return 0


def write(draft: Any, sft: Artifact, evaluator: Evaluator, method: Method, state: TrainState) -> None:
    """Write the best checkpoint, its curve and every evaluation point into the draft."""
    config = evaluator.config
    assert evaluator.best is not None  # the last iteration is always an evaluation point
    point, params = evaluator.best
    policy = actor_adapter(params, config)
    lora.save(policy, draft.file("adapter.safetensors", role="adapter"))
    adapters = []
    for number, entry in enumerate(sft.details.adapters):
        name = "sft.safetensors" if number == 0 else f"sft_{number}.safetensors"
        shutil.copyfile(sft.path / entry.file, draft.file(name, role="adapter_sft" + (f"_{number}" if number else "")))
        adapters.append({**entry.model_dump(), "file": name})
    adapters.append(adapter_details("policy", "adapter.safetensors", policy, config))
    if isinstance(method, PPO):
        critic = Adapter(part_of(params, CRITIC), method.critic_scale)
        lora.save(critic, draft.file("critic.safetensors", role="critic"), extra=prefixed(part_of(params, HEAD)))
    points = [{**p, "selected": p["iteration"] == point.iteration} for p in evaluator.points]
    draft.write_jsonl("curve.jsonl", points, role="curve")
    for p in points:
        stem = f"{p['iteration']:04d}"
        draft.file(f"eval/{stem}.safetensors", role=f"eval_{stem}")
        draft.file(f"eval/{stem}.jsonl", role=f"eval_{stem}_responses")
        if p["iteration"] > 0:
            draft.file(f"eval/{stem}_rollout.jsonl", role=f"eval_{stem}_rollout")
    chosen = next(p for p in points if p["selected"])
    for name in ("kl", "kl_k1", "perplexity", "reward_mean", "response_length_mean", "truncated_rate"):
        draft.metric(name, chosen[name], step=point.iteration, n=len(evaluator.prompts))
    draft.metric("iterations", state.iteration)
    draft.metric("controller_actions", state.memory["control"]["actions"])
    draft.extensions["lines_of_code"] = method_lines(method.name)
    draft.seeds = [config.seed]
    draft.details = {
        "method": method.name,
        "form": "residual",
        "format": sft.details.format,
        "adapters": adapters,
        "seed": config.seed,
        "control": config.control,
        "certificate": liveness.certificate(state, control=config.control, ratio=state.memory.get("first_ratio")),
        "merge": None,
        "selection": {
            "rule": config.selection,
            "step": point.iteration,
            "gate_passed": point.passes,
            "kl": point.kl,
            "perplexity": point.perplexity,
            "reward": point.reward,
        },
    }


def adapter_details(name: str, file: str, adapter: Adapter, config: RLConfig) -> dict[str, Any]:
    """Describe an adapter for the manifest."""
    return {
        "name": name,
        "file": file,
        "rank": config.lora_rank,
        "alpha": config.lora_alpha,
        "layers": config.lora_layers,
        "targets": sorted({k.rsplit(".", 2)[-2] for k in adapter.params}),
    }


def prefixed(head: dict[str, mx.array]) -> dict[str, mx.array]:
    """Name the value head's arrays in the critic's file."""
    return {f"head.{k}": v for k, v in head.items()}


def require_inputs(config: RLConfig, sft: Artifact, rm: Artifact) -> None:
    """Raise ConfigError where the policy or the reward model cannot take part in a run."""
    if sft.details.form != "residual":
        raise ConfigError(
            f"{sft.name} is a merged policy: what is trained here is published as adapters on its base",
            expected="a residual policy",
            do="pass the policy that it was merged from",
        )
    if sft.details.format != "chosen":
        raise ConfigError(
            f"{sft.name} was trained on the genrm format",
            expected="a policy trained on chosen answers",
            do="train one: align-sft train --format chosen",
        )
    if rm.input("policy").content_digest != sft.content_digest:
        raise ConfigError(
            f"the reward model {rm.name} stands on another SFT policy",
            expected=sft.content_digest,
            got=rm.input("policy").content_digest,
            do="train the reward model on this policy, or pass the policy it was trained on",
        )
    if isinstance(config, PPOConfig) and config.critic_init == "rm" and rm.details.backbone != "policy":
        raise ConfigError(
            f"the reward model {rm.name} stands on the bare base, so the critic cannot start as it",
            expected="a reward model with the policy as backbone",
            do="set --critic-init zero",
        )


def require_prompts(config: RLConfig, data: Artifact) -> None:
    """Raise ConfigError where an evaluation point wants more prompts than the validation split was given.

    Prompts that turn out too long are another matter: they are left out and counted.
    """
    there = data.details.counts.get("prompts_validation", 0)
    if 0 < there < config.eval_prompts:
        raise ConfigError(
            f"the validation split of {data.name} is smaller than an evaluation point",
            expected=f"eval_prompts ≤ {there}",
            got=config.eval_prompts,
            do="Lower --eval-prompts",
        )
