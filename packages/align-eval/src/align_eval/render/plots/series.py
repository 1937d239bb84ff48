"""Runs as series of a plot: a colour for the method, a dash for the seed, one legend everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from align_eval.render import style
from align_eval.render.document import Legend
from align_eval.render.text import method, run_name

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """How a run is drawn."""

    label: str
    name: str
    tone: str
    dash: tuple[float, ...]


def series(report: Json) -> list[Series]:
    """Every trained run, by method and seed."""
    found, order = [], dict.fromkeys(report["methods"], 0)
    for run in report["runs"]:
        name, place = run["method"], order[run["method"]]
        dash = style.DASHES[place % len(style.DASHES)]
        found.append(Series(run["label"], run_name(run["label"]), name, dash))
        order[name] += 1
    return found


def checkpoints(report: Json, label: str) -> list[dict[str, Any]]:
    """The evaluation points of a run, with the gold score and the KL gate where they were measured."""
    runs = {run["label"]: run["points"] for run in report["diagnostics"]["frontier"]["runs"]}
    judged = {point["iteration"]: point for point in runs.get(label, ())}
    return [{**judged.get(point["iteration"], {}), **point} for point in report["curves"][label]["points"]]


def run_legend(report: Json) -> list[Legend]:
    """A legend entry a run."""
    return [Legend(one.label, one.name, one.tone, one.dash) for one in series(report)]


def method_legend(report: Json, *, ranges: bool = True) -> list[Legend]:
    """A legend entry a method: its mean over the seeds, with the range of the seeds where that is drawn."""
    what, shape = ("mean and range", "band") if ranges else ("mean", "thick")
    return [Legend(f"mean-{name}", f"{method(name)}, {what}", name, (), shape) for name in report["methods"]]
