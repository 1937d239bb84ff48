"""Which steps a recipe has, and which artifacts each takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from align_contracts import ConfigError

AA_SEED = 1001
"""Sampler seed of the second set of SFT answers: judged against the first, it shows the noise of the judging."""

JUDGE_RM = "--reward-model"
"""The judge's flag for the reward model that judges."""


class PipelineConfig(BaseModel):
    """The ``[pipeline]`` section of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[Literal["ppo", "grpo"], ...] = Field(("ppo", "grpo"), description="RL methods.", min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (42, 123, 777), description="Seeds of every method.", min_length=1
    )
    gold: bool = Field(
        False, description="Also train a reward model on the gold split; the judge reward-model is then this one."
    )
    sweep: bool = Field(
        False, description="Also measure each run at several strengths of its adapter: the methods at equal KL."
    )
    jobs: int = Field(1, description="Independent steps run at the same time.", ge=1)

    @field_validator("methods", "seeds")
    @classmethod
    def _once(cls, values: tuple[int | str, ...]) -> tuple[int | str, ...]:
        twice = sorted({str(value) for value in values if values.count(value) > 1})
        if twice:
            raise ConfigError("each once", got=f"{', '.join(twice)} more than once")
        return values


@dataclass(frozen=True)
class Step:
    """One process of the chain.

    Attributes:
        name: The artifact it makes.
        script: The console script.
        command: The script's command.
        inputs: Artifacts by the flag that takes them.
        extra: Further arguments.
    """

    name: str
    script: str
    command: str
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    @property
    def needs(self) -> set[str]:
        """Artifacts that must be there first."""
        return {name for names in self.inputs.values() for name in names}


def chain(settings: PipelineConfig, embedded: bool, judge_by_rm: bool = False) -> list[Step]:
    """Return the steps in an order in which each finds its inputs.

    Args:
        settings: The ``[pipeline]`` section.
        embedded: Whether the base is trained on the data artifact instead of imported.
        judge_by_rm: Whether a reward model of the chain judges: the gold one if there is one.
    """
    data, sft = {"--data": ("data",)}, {"--sft": ("sft",)}
    steps = [
        Step("data", "align-data", "build"),
        Step("base", "align-sft", "base", data if embedded else {}),
        Step("sft", "align-sft", "train", {"--base": ("base",), **data}),
        Step("rm", "align-rm", "train", {**sft, **data}),
    ]
    if settings.gold:
        steps.append(Step("rm-gold", "align-rm", "train", {**sft, **data}, ("--split", "gold")))
    runs = {f"{method}-{seed}": (method, seed) for seed in settings.seeds for method in settings.methods}
    # GRPO's draw K answers a prompt: the longest steps begin first, so that the last ones end together.
    for run, (method, seed) in sorted(runs.items(), key=lambda run: run[1][0] != "grpo"):
        inputs: Mapping[str, tuple[str, ...]] = {**sft, "--rm": ("rm",), **data}
        steps.append(Step(run, "align-rl", method, inputs, ("--seed", str(seed))))
    for run in ("sft", "sft-aa", *runs):
        policy = "sft" if run == "sft-aa" else run
        inputs = {"--policy": (policy,), "--rm": ("rm",), **data}
        seed_flag = ("--sampling-seed", str(AA_SEED)) if run == "sft-aa" else ()
        steps.append(Step(f"responses-{run}", "align-eval", "respond", inputs, seed_flag))
    for run in ("sft-aa", *runs):
        inputs = {"--candidate": (f"responses-{run}",), "--baseline": ("responses-sft",)}
        if judge_by_rm:
            inputs[JUDGE_RM] = ("rm-gold" if settings.gold else "rm",)
        steps.append(Step(f"judgments-{run}", "align-eval", "judge", inputs))
    reported = {"--judgments": tuple(f"judgments-{run}" for run in (*runs, "sft-aa"))}
    if settings.sweep:
        gold = {"--gold": ("rm-gold",)} if settings.gold and judge_by_rm else {}
        for run in runs:
            inputs = {"--policy": (run,), "--rm": ("rm",), **data, **gold}
            steps.append(Step(f"sweep-{run}", "align-eval", "sweep", inputs))
        reported["--sweeps"] = tuple(f"sweep-{run}" for run in runs)
    return [*steps, Step("report", "align-eval", "compare", reported)]
