"""A small program for the console tests: one command with every kind of field."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from align_contracts import console
from align_contracts.errors import ConfigError, DivergedError

FROZEN = ConfigDict(frozen=True, extra="forbid")


class Lora(BaseModel):
    model_config = FROZEN

    rank: int = Field(16, gt=0, description="Rank of the adapter.")


class Train(BaseModel):
    model_config = FROZEN

    sft: Path = console.runtime(..., "Where the run starts.", json_schema_extra=console.aliases("--actor-model"))
    K: int = Field(6, ge=2, description="Responses per prompt.", json_schema_extra={"group": "Rollout"})
    num_iterations: int = Field(800, description="Iterations.")
    learning_rate: float = Field(5e-6, gt=0, description="Learning rate.")
    kl_targets: tuple[float, ...] = Field((0.05, 0.02), description="KL targets.")
    controller: Literal["lr", "stop"] = Field("lr", description="How KL is held.")
    bits: Literal[0, 4, 8] = Field(4, description="Bits of the weights.")
    whiten: bool = Field(True, description="Normalise advantages.")
    max_norm: float | None = Field(0.5, description="Gradient clip.")
    label: str = Field("", description="A name.")
    lora: Lora = Field(Lora(rank=8), description="The adapter.")
    weights: dict[str, float] = Field({}, description="Weights by name.")
    progress: bool = console.runtime(False, "Show progress.")

    @model_validator(mode="after")
    def check(self) -> Train:
        if self.K > 100:
            raise ConfigError("K is too large", expected="at most 100", got=self.K)
        return self


class Compare(BaseModel):
    model_config = FROZEN

    judgments: list[Path] = console.runtime(..., "What is compared.", json_schema_extra={"positional": True})
    out: Path = console.runtime(..., "The result.")


SEEN: list[BaseModel] = []


def run(config: BaseModel) -> int | None:
    SEEN.append(config)
    return None


def diverge(config: BaseModel) -> int:
    raise DivergedError("the loss is not finite", expected="a number", got="nan", do="Lower the learning rate")


def interrupt(config: BaseModel) -> int:
    """Be sent SIGTERM at work."""
    os.kill(os.getpid(), signal.SIGTERM)
    return 0


def seven(config: BaseModel) -> int:
    return 7


COMMANDS = [
    console.Command(
        "train", "Train a policy.", Train, "console_example:run", ("rl", "ppo"), ("align-rl train --sft sft",)
    ),
    console.Command("compare", "Compare runs.", Compare, "console_example:run", ("compare",)),
    console.Command("diverge", "Always diverges.", Lora, "console_example:diverge"),
    console.Command("interrupt", "Is interrupted.", Lora, "console_example:interrupt"),
    console.Command("seven", "Returns seven.", Lora, "console_example:seven"),
]
