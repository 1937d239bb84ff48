"""What a dry run says: memory, time a step, time in all."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts import Draft
from align_contracts.space import amount
from align_mlx.compute import memory_bytes
from align_mlx.plan import PLANNED
from align_mlx.progress import Meter
from align_mlx.settings import PassSettings, ResumeSettings
from align_mlx.unfinished import Run

STEPS = 5
"""Optimizer steps of a supervised dry run; the first, which compiles, is not counted."""


@dataclass(frozen=True)
class Part:
    """Something a run does many times.

    Attributes:
        name: of one.
        count: how many.
        seconds: that one took.
        detail: what it consists of.
    """

    name: str
    count: int
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a run will take, measured on a little of it.

    Attributes:
        title: the run.
        plan: how the work is cut: the settings, nothing left open.
        peak: bytes of MLX's memory at their most.
        parts: what the time goes into.
    """

    title: str
    plan: PassSettings
    peak: int
    parts: tuple[Part, ...]

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(part.count * part.seconds for part in self.parts)

    def __str__(self) -> str:
        """Write it as a table of two columns."""
        limit = memory_bytes(self.plan.memory_limit)
        rows = [(name.replace("_", " "), str(getattr(self.plan, name))) for name in PLANNED if hasattr(self.plan, name)]
        rows.append(("peak memory", f"{amount(self.peak)} of {amount(limit)}"))
        rows += [(part.name, f"{part.count} × {part.seconds:.2f} s  {part.detail}".rstrip()) for part in self.parts]
        rows.append(("in all", f"{duration(self.seconds)}; measured on a little of it, and nothing is published"))
        width = max(len(name) for name, _ in rows)
        return "\n".join([self.title, *(f"  {name:{width}}  {value}" for name, value in rows)])


def few_steps(
    title: str,
    kind: str,
    config: Any,
    train: Callable[[Any, Draft, Run], None],
    *,
    steps: int,
    points: int,
    measured: int,
    meter: Meter,
) -> Forecast:
    """Take the first steps of a supervised run into a draft that is thrown away, and extrapolate.

    Args:
        title: what to call the run.
        kind: of its artifact.
        config: its settings, with `max_steps`.
        train: runs it; writes ``train.jsonl`` with the `seconds` of each step, and assigns ``draft.config``.
        steps: of the whole run.
        points: how often the whole run is measured on the validation split.
        measured: how often the short run is.
        meter: counts the steps; open.
    """
    short = config.model_copy(update={"max_steps": min(steps, STEPS)})
    with tempfile.TemporaryDirectory() as folder:
        draft = Draft(Path(folder), kind, config)
        start = time.perf_counter()
        mx.reset_peak_memory()
        train(short, draft, Run(Path(folder, "run"), {}, ResumeSettings(checkpoint_every=10**9), meter=meter))
        whole = time.perf_counter() - start
        log = [json.loads(line) for line in Path(folder, "run", "train.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in log]
    counted = seconds[1:] or seconds
    return Forecast(
        f"{title}, {steps} steps",
        plan=draft.config,
        peak=log[-1]["peak_memory_bytes"],
        parts=(
            Part("step", steps, sum(counted) / len(counted)),
            Part("validation", points, max(0.0, whole - sum(seconds)) / measured),
        ),
    )


def duration(seconds: float) -> str:
    """Write seconds as people say them: ``42 s``, ``12 min 5 s``, ``31 h 40 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
