"""NaN and infinity injected into real runs of every training stage, in loss, gradient, reward and weights."""

import contextlib
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx

import align_rl.run
import align_rm.train
import align_sft.train
from align_contracts.errors import DivergedError
from align_mlx import checkpoints
from align_mlx.loading import load_base
from align_mlx.train_state import TrainState
from align_mlx.unfinished import Run
from align_rl.config import GRPOConfig, PPOConfig
from align_rm.config import TrainConfig as RMConfig
from align_sft.config import TrainConfig as SFTConfig
from faults.row import Count, Row
from tiny.models import make_model
from tiny.poison import explode_token, spoil_array, spoil_token
from tiny.rows import chat_row, prompt_row, publish_rows
from tiny.stores import publish_base, publish_policy, publish_rm, random_adapter
from tiny.tokenizer import fill_words, word_tokenizer

NAN, INF = float("nan"), float("inf")
STEPS = 3
"""Steps of an undisturbed run; the fault strikes at one of them."""


@dataclass
class Victim:
    """A run and what of it can be spoilt: its base, its state, and RL's reward model."""

    seen: dict[str, Any] = field(default_factory=dict)
    before: str = ""
    """sha256 of the state at the start of the step that is struck."""

    def strike(self, how: str) -> None:
        """Note the state, and inject the fault."""
        state, resident = self.seen["state"], self.seen["resident"]
        self.before = digest({**state.params, **state.moments})
        name = next(name for name in state.params if name.endswith("lora_b"))
        if how == "loss":
            spoil_token(resident, self.seen["token"])
        elif how == "gradient":
            explode_token(resident, self.seen["token"])
        elif how == "weight":
            state.params[name] = spoil_array(state.params[name])
        elif how == "moment":
            state.optimizer.state[name]["v"] = spoil_array(state.optimizer.state[name]["v"], INF)
        elif how == "base":
            module = next(iter(resident.maps.values())).base
            module.weight = spoil_array(module.weight)
        else:
            self.seen["head"]["weight"] = spoil_array(self.seen["head"]["weight"], INF)


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Strike every stage in every way, at a step drawn for each, as often as asked for."""
    randomness, store = random.Random(seed), make_store(scratch / "store")
    ways = {
        "sft": ("loss", "gradient", "weight", "moment", "base"),
        "rm": ("loss", "gradient", "weight", "moment", "base"),
        "ppo": ("loss", "gradient", "weight", "moment", "base", "reward"),
        "grpo": ("loss", "gradient", "weight", "moment", "base", "reward"),
    }
    cases = [(stage, how) for stage, hows in ways.items() for how in hows]
    failures = []
    for number in range(tries):
        stage, how = cases[number % len(cases)]
        step = randomness.randrange(1 if how in ("gradient", "moment") else 0, STEPS)
        out = scratch / f"{number}-{stage}-{how}"
        if problem := judge(stage, how, step, config_of(stage, store, out)):
            failures.append(f"{how} of {stage} at step {step + 1}: {problem}")
    return Count(tries - len(failures), tries, tuple(failures))


def judge(stage: str, how: str, step: int, config: Any) -> str | None:
    """Run a stage with a fault, and say what of the promise did not hold."""
    victim = Victim()
    try:
        with watched(victim, step, how):
            {"sft": align_sft.train.run, "rm": align_rm.train.run}.get(stage, align_rl.run.run)(config)
    except DivergedError as error:
        message = str(error)
    else:
        return "the run did not stop"
    folder = config.out.parent / f".{config.out.name}.run"
    if config.out.exists() or str(folder / "diagnosis.json") not in message:
        return f"something was published, or the message does not name the diagnosis: {message}"
    record = json.loads((folder / "diagnosis.json").read_text(), parse_constant=_no_json)
    if record.get("step", record.get("iteration")) != step + 1:
        return f"it stopped at {record.get('step', record.get('iteration'))}"
    if (found := checkpoints.newest(folder)) is None:
        return "there is no checkpoint"
    state = TrainState.start({})
    state.restore(found[0])
    if digest({**state.params, **state.moments}) != victim.before:
        return "the state on disk is not that at the start of the step"
    return misnamed(stage, how, victim, record)


def misnamed(stage: str, how: str, victim: Victim, record: dict[str, Any]) -> str | None:
    """Say what a diagnosis names wrongly: rows that hold the token, or else a tensor."""
    if how not in ("loss", "gradient"):
        return None if record["weights"] else "it names no tensor"
    named = {row["id"] for row in record["offending_rows"]}
    held = {name for name, ids, _ in victim.seen["drawn"] if victim.seen["token"] in ids}
    # Sampled answers may hold the token too, and what has no advantage has no gradient.
    in_rl = bool(named) and (how == "gradient" or held <= named)
    right = named == held if stage in ("sft", "rm") else in_rl
    return None if right else f"it names the rows {sorted(named)}, the token is in {sorted(held)}"


@contextlib.contextmanager
def watched(victim: Victim, step: int, how: str) -> Iterator[None]:
    """Look into a run from outside, and strike it when the rows of a step are drawn."""
    seen, begin = victim.seen, Run.begin
    sft, rm, rl = align_sft.train.load, align_rm.train.load, align_rl.run.prepare

    def began(self: Run, state: TrainState, total: int) -> None:
        seen["state"] = state
        begin(self, state, total)

    def sft_loaded(*arguments: Any) -> Any:
        seen["resident"], train, _ = found = sft(*arguments)
        seen["rows"] = [(n, turn.ids, turn.response[0]) for n, turn in zip(train.ids, train.tokens, strict=True)]
        return found

    def rm_loaded(*arguments: Any) -> Any:
        seen["resident"], splits = found = rm(*arguments)
        seen["rows"] = [
            (p.prompt_id, p.chosen.ids + p.rejected.ids, p.chosen.response[0]) for p in splits["train"].kept
        ]
        return found

    def rl_prepared(*arguments: Any) -> Any:
        ready = rl(*arguments)
        seen["resident"], seen["head"] = ready.resident, ready.scorer.head
        seen["rows"] = [(n, p.ids, p.ids[4]) for n, p in zip(ready.rows.train_ids, ready.rows.train, strict=True)]
        return ready

    def drawing(draw: Callable[..., list[int]], place: int) -> Callable[..., list[int]]:
        def drawn(*arguments: Any) -> list[int]:
            rows = draw(*arguments)
            if arguments[place] == step and not victim.before:
                seen["drawn"] = [seen["rows"][i] for i in rows]
                seen["token"] = seen["drawn"][0][2]  # the first word of the first row's answer, or in RL of its prompt
                victim.strike(how)
            return rows

        return drawn

    with (
        patch.object(Run, "begin", began),
        patch("align_sft.train.load", sft_loaded),
        patch("align_rm.train.load", rm_loaded),
        patch("align_rl.run.prepare", rl_prepared),
        patch("align_mlx.steps.rows_of", drawing(align_sft.train.stepping.rows_of, 0)),
        patch("align_rl.loop.prompt_order", drawing(align_rl.loop.prompt_order, 1)),
    ):
        yield


def digest(arrays: dict[str, mx.array]) -> str:
    """Give the sha256 of arrays with their names; the learning rate of the step is no part of a state."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        if name != "learning_rate":
            state.update(name.encode() + bytes(memoryview(mx.contiguous(arrays[name]))))
    return state.hexdigest()


def make_store(store: Path) -> Path:
    """Publish a random base, a policy and a reward model on it, and a dataset of a few words."""
    store.mkdir()
    base = publish_base(store / "base", *make_model("gemma"), word_tokenizer())
    maps = load_base(base.path).maps
    sft = publish_policy(store / "sft", base, random_adapter(maps, 1))
    publish_rm(store / "rm", sft, random_adapter(maps, 2))
    words = fill_words()
    prompts = [prompt_row(f"t{i}", f"{words[i]} {words[i + 1]}") for i in range(12)]
    held = [prompt_row(f"v{i}", f"{words[40 + i]} {words[41 + i]}", "creative") for i in range(4)]
    judged = {"score_chosen": 5.0, "score_rejected": 2.0}
    pairs = [{**row, "chosen": words[12 + i], "rejected": words[24 + i], **judged} for i, row in enumerate(prompts)]
    fair = [{**row, "chosen": words[36], "rejected": words[37], **judged} for row in held]
    answered = [chat_row(row["prompt_id"], row["prompt"], words[12 + i], 5.0) for i, row in enumerate(prompts)]
    valid = [chat_row(row["prompt_id"], row["prompt"], words[38], 5.0) for row in held]
    files = {"prompts/train": prompts, "prompts/validation": held, "prompts/calibration": held}
    files |= {"pairs/train": pairs, "pairs/validation": fair, "pairs/calibration": fair}
    publish_rows(store / "data", {**files, "sft/train": answered, "sft/validation": valid})
    return store


def config_of(stage: str, store: Path, out: Path) -> Any:
    """Give the settings of a small run with a checkpoint after every step."""
    plan = {"token_budget": 16384, "gradient_checkpointing": False, "quiet": True, "checkpoint_every": 1}
    plan |= {"compute_form": "dense", "compute_dtype": "float32", "data": store / "data", "out": out}
    if stage == "sft":
        batch = {
            "batch_size": 4,
            "gradient_accumulation_steps": 1,
            "max_steps": STEPS,
            "warmup_steps": 0,
            "compile": False,
        }
        return SFTConfig(base=store / "base", lora_rank=4, lora_alpha=8.0, learning_rate=1e-2, **batch, **plan)
    plan |= {"sft": store / "sft", "rollout_rows": 64, "lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 1e-2}
    if stage == "rm":
        return RMConfig(batch_size=4, max_steps=STEPS, compile=False, max_new_tokens=4, max_seq_length=64, **plan)
    lengths = {"max_seq_length": 32, "max_prompt_length": 16, "max_response_length": 8}
    plan |= {"rm": store / "rm", "batch_size": 4, "minibatches": 1, "num_iterations": STEPS, "eval_every": STEPS}
    kind, own = (PPOConfig, {}) if stage == "ppo" else (GRPOConfig, {"K": 3})
    return kind(**plan, **lengths, **own, eval_prompts=4)


def _no_json(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


ROWS = (Row("numbers", "NaN or inf: stops within the step, state before kept, rows or tensors named", 22, run),)
