"""A run from artifacts to artifact: open, train, publish."""

import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts import Artifact, Draft, open_artifact
from align_contracts.errors import ConfigError
from align_contracts.selection import Point
from align_contracts.space import amount, require_space
from align_mlx import adapters as lora
from align_mlx import liveness
from align_mlx.adapters import Adapter
from align_mlx.compute import bound_memory
from align_mlx.guard import left_out
from align_mlx.progress import Meter
from align_mlx.train_state import TrainState
from align_mlx.training import training
from align_mlx.unfinished import Run
from align_mlx.world import World, connected
from align_rl import disk
from align_rl.code_size import method_lines
from align_rl.config import PPOConfig, RLConfig
from align_rl.dry_run import forecast
from align_rl.kept import read_rewards, win_rate
from align_rl.loop import Record
from align_rl.methods.actor import actor_adapter, part_of
from align_rl.methods.ppo import CRITIC, HEAD, PPO
from align_rl.prepare import Ready, prepare


def run(config: RLConfig) -> int:
    """Train a policy with PPO or GRPO, as the type of `config` says, and publish it; several processes do it together.

    Raises:
        ConfigError: settings that contradict each other or the inputs.
        DivergedError: training went non-finite, or failed a proof that it carries.
    """
    with connected() as world:
        work(config, world)
    return 0


def work(config: RLConfig, world: World) -> None:
    """Do the part of one of the processes."""
    bound_memory(config.memory_limit)
    sft, rm = open_artifact(config.sft, kind="policy"), open_artifact(config.rm, kind="reward_model")
    data = dataset_of(config, sft)
    require_inputs(config, sft, rm)
    require_prompts(config, data)
    method = "ppo" if isinstance(config, PPOConfig) else "grpo"
    if config.dry_run:
        if world.writes:
            with Meter(f"{method} dry run", quiet=config.quiet):
                found = forecast(prepare(config, sft, rm, data))
            print(found)
        return
    config = world.quietly(config)
    meter = Meter(f"{method} seed {config.seed}", unit="iteration", quiet=config.quiet)
    inputs = {"base": sft.input("base"), "policy": sft, "reward_model": rm, "dataset": data}
    with training(config, "policy", producer="align-rl", inputs=inputs, meter=meter, world=world) as (draft, run):
        start = time.perf_counter()
        ready = prepare(config, sft, rm, data, partial(run.begin, total=config.num_iterations), world)
        draft.config = ready.config
        require_space(config.out, disk.parts(ready, sft), there=run.folder)
        iterate(ready, run, start)
        run.save()
        write(draft, sft, ready, run)
        draft.extensions["dropped"] = ready.rows.dropped
        if not config.quiet:
            print(liveness.sentence(draft.details.certificate), file=sys.stderr)


def iterate(ready: Ready, run: Run, start: float) -> None:
    """Run the loop; log, evaluation points and state go to the run folder.

    Args:
        ready: the run.
        run: where it is kept.
        start: when this process began with it, by `time.perf_counter`.
    """
    config, state = ready.config, ready.state
    before, peak = state.memory.get("seconds", 0.0), state.memory.get("peak_memory_bytes", 0)
    mx.reset_peak_memory()

    def log(row: Record) -> None:
        told = {"method": ready.method.name, "seed": config.seed, "num_iterations": config.num_iterations, **row}
        if "eval" in row and run.world.writes:  # the others have not the answers of before a resumption
            told["eval"] = {**row["eval"], **standing(run.folder, state)}
        run.log("train.jsonl", told)
        run.meter.advance(**shown(told))

    def reached(state: TrainState) -> None:
        state.memory["seconds"] = before + time.perf_counter() - start
        state.memory["peak_memory_bytes"] = max(peak, mx.get_peak_memory())
        run.reached(state)

    watch = ready.watch(run.folder)
    evaluate, keep = ready.evaluator(run.file, watch), ready.keeper(run.file)
    ready.train(evaluate=evaluate, log=log, keep=keep, watch=watch, reached=reached)


def standing(folder: Path, state: TrainState) -> dict[str, float | int]:
    """Say how an evaluation point stands: its win rate against SFT by the reward model, and the best point so far."""
    first, last = (folder / f"eval/{iteration:04d}.jsonl" for iteration in (0, state.iteration))
    return {"win_rate": win_rate(read_rewards(first), read_rewards(last)), "best": state.memory["best"]["iteration"]}


def shown(row: Record) -> Record:
    """Choose what the progress of a run shows of a row."""
    facts: Record = {"reward": row["reward_mean"], "KL": f"{row['kl']:.4f} (target {row['target_kl']:g})"}
    if "win_rate" in row.get("eval", {}):
        facts["wins"] = f"{row['eval']['win_rate']:.0%}"
    return facts | {"memory": amount(row["active_memory_bytes"])}


def write(draft: Draft, sft: Artifact, ready: Ready, run: Run) -> None:
    """Write the best checkpoint, its curve, the log and every evaluation point into the draft."""
    config, method, state = ready.config, ready.method, ready.state
    point, params = Point(**state.memory["best"]), state.best  # the last iteration is always an evaluation point
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
    points = [{**p, "selected": p["iteration"] == point.iteration} for p in state.memory["curve"]]
    draft.write_jsonl("curve.jsonl", points, role="curve")
    run.hand_over(draft, "train.jsonl", role="log", volatile=True)
    for p in points:
        stem = f"{p['iteration']:04d}"
        run.hand_over(draft, f"eval/{stem}.safetensors", role=f"eval_{stem}")
        run.hand_over(draft, f"eval/{stem}.jsonl", role=f"eval_{stem}_responses")
        if p["iteration"] > 0:
            run.hand_over(draft, f"eval/{stem}_rollout.jsonl", role=f"eval_{stem}_rollout")
    chosen = next(p for p in points if p["selected"])
    gate = "" if point.passes else "; no point passed the KL gate"
    measured = f"reward {point.reward:.4g}, KL {point.kl:.4f}{gate}"
    draft.summary = f"iteration {point.iteration} of {state.iteration}: {measured}"
    for name in ("kl", "kl_k1", "perplexity", "reward_mean", "response_length_mean", "truncated_rate"):
        draft.metric(name, chosen[name], step=point.iteration, n=len(ready.rows.validation))
    draft.metric("iterations", state.iteration)
    draft.metric("skipped_rows", len(left_out(state)))
    if skipped := left_out(state):
        draft.extensions["skipped_rows"] = skipped
    draft.metric("training_seconds", state.memory["seconds"])
    draft.metric("peak_memory_bytes", state.memory["peak_memory_bytes"])
    draft.metric("prompts_dropped", sum(ready.rows.dropped["train"].values()))
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


def dataset_of(config: RLConfig, sft: Artifact) -> Artifact:
    """Open the dataset that the settings name, or else the one that the policy learned from.

    Raises:
        ConfigError: the settings name none, and the policy, an imported one, does not either.
    """
    if config.data is not None:
        return open_artifact(config.data, kind="dataset")
    if "dataset" not in {record.role for record in sft.manifest.inputs}:
        raise ConfigError(f"{sft.name} names no dataset that it learned from", do="Give one with --data")
    return sft.input("dataset")


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
