"""An unfinished run is continued only by the run it is: every other setting and input is refused by its name."""

import random
import signal
import typing
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import ValidationError

from align_contracts.errors import ConfigError
from align_mlx.identity import decisive
from faults.children import ChildError, ask
from faults.row import Count, Row
from faults.rows.resume import Course, interrupt
from faults.stages import COMMON, STAGES, Stage, make_store

RL = {
    "inputs reward_model": {"rm": "rm-other"},
    "inputs policy": {"sft": "sft-other", "rm": "rm-moved"},  # and the reward model on it
    "inputs base": {"sft": "sft-other-base", "rm": "rm-other-base"},
    "inputs dataset": {"data": "data-other"},
}
OTHERS: dict[str, dict[str, dict[str, str]]] = {
    "base": {"inputs dataset": {"data": "data-other"}},
    "sft": {"inputs base": {"base": "base-other"}, "inputs dataset": {"data": "data-other"}},
    "rm": {
        "inputs policy": {"sft": "sft-other"},
        "inputs base": {"sft": "sft-other-base"},
        "inputs dataset": {"data": "data-other"},
    },
    "ppo": RL,
    "grpo": RL,
}
"""Other inputs of each stage, and what the refusal must name."""
IMPORT = {"embedded", "model"}
"""Settings of which one does not change without the other: then the base is no training."""


def other_values(stage: Stage, name: str) -> Iterator[Any]:
    """Give values of another kind than a setting has, likely ones first."""
    info = stage.config.model_fields[name]
    value = {**COMMON, **stage.settings}.get(name, info.default)
    kinds = [info.annotation, *typing.get_args(info.annotation)]
    for kind in kinds:
        yield from (choice for choice in typing.get_args(kind) if isinstance(choice, str) and choice != value)
    if isinstance(value, bool) or bool in kinds:
        yield not value
    if isinstance(value, int | float) and value:
        yield from (value - 1, value + 1, 2 * value)
    yield from (3, 1, 0.5, ("q_proj",), (0.5,), "other")


def changes(stage: Stage, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every change of one setting that decides the result: its name, and the change."""
    plain = decisive(stage.configure(folder, folder / "out"))
    for name in sorted(plain.keys() - IMPORT):
        if len(typing.get_args(stage.config.model_fields[name].annotation)) == 1:  # a choice of one
            continue
        for value in other_values(stage, name):
            try:
                changed = decisive(stage.configure(folder, folder / "out", **{name: value}))
            except (ValidationError, ConfigError):
                continue
            if [key for key in plain if plain[key] != changed[key]] == [name]:
                yield f"settings {name}", {name: value}
                break
        else:
            raise ValueError(f"{stage.name}: found no other value for {name}")
    yield from OTHERS[stage.name].items()


def refusal(course: Course, out: Path, change: dict[str, Any]) -> str | None:
    """Go on with an unfinished run under a change; give the refusal's message, None if there was none."""

    def refused() -> str | None:
        try:
            course.stage.run(course.stage.configure(course.folder / "store", out, **change))
        except ConfigError as error:
            return str(error)
        return None

    with patch("align_mlx.unfinished.Run.begin", _not_reached):
        return ask(refused)


def _not_reached(*args: object) -> None:
    raise AssertionError("the run went on")


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Interrupt a run of each stage, then try to continue it with every single thing changed, as often as asked."""
    ask(lambda: make_store(scratch / "store"))
    courses, failures = {stage.name: Course.of(stage, scratch) for stage in STAGES}, []
    for name, course in courses.items():
        if interrupt(course, scratch / name, signal.SIGTERM, course.calls // 2, 0.0) is not None:
            raise ChildError(f"{name} was not interrupted")
    every = [(course, *one) for course in courses.values() for one in changes(course.stage, scratch / "store")]
    random.Random(seed).shuffle(every)
    turns = list(islice(cycle(every), tries))
    for course, name, change in turns:
        said = refusal(course, scratch / course.stage.name, change)
        if said is None or f" {name} " not in said:
            failures.append(f"{course.stage.name} with {change}: expected a refusal that names {name}, got {said}")
    for stage, course in courses.items():
        if ask(lambda course=course, stage=stage: course.finish(scratch / stage)) != course.expected:
            failures.append(f"{stage} is not what it was after the refusals")
    return Count(len(turns) - len(failures), len(turns), tuple(failures))


ROWS = (Row("inputs", "continued with another setting or input: refused by its name, nothing is lost", 165, run),)
