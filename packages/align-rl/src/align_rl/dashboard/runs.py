"""The runs that are watched: found by their directories, followed from the first line to the published artifact."""

import json
import math
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from align_contracts.console.suggest import did_you_mean
from align_contracts.errors import MissingError
from align_contracts.nearby import nearby
from align_rl.dashboard.state import State, state_of
from align_rl.dashboard.tail import Row, Tail

LOG = "train.jsonl"
VALIDATIONS = ("validation.jsonl", "curve.jsonl")
"""Where SFT and reward models write what they measure on held-out rows: in the run folder, and in the artifact."""
MANIFEST = "manifest.json"
RECENT = 50
"""Lines whose mean time gives the time left."""


class WatchedRun:
    """One run, from before its first line until after its publication.

    Args:
        out: where its artifact is or will be published.

    Attributes:
        rows: the lines of its log so far.
        points: what was measured on held-out rows: RL's evaluation points, SFT's and reward models' validations.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.parent / f".{out.name}.run"
        self._log, self._side = Tail(self.folder / LOG), Tail(self.folder / VALIDATIONS[0])
        self._said: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The artifact's name."""
        return self.out.name

    @property
    def log(self) -> Path:
        """The log it is read from."""
        return self._log.path

    def poll(self) -> bool:
        """Read what is new; say whether anything is."""
        in_folder = (self.folder / LOG).is_file() or not (self.out / LOG).is_file()
        home, side = (self.folder, VALIDATIONS[0]) if in_folder else (self.out, VALIDATIONS[1])
        if self._log.path.parent != home:
            self._log, self._side = Tail(home / LOG), Tail(home / side)
            self._said = {} if in_folder else _manifest(self.out / MANIFEST)
        changed = self._log.poll()
        return self._side.poll() or changed

    @property
    def rows(self) -> list[Row]:
        """The lines of the log."""
        return self._log.rows

    @property
    def points(self) -> list[Row]:
        """RL's evaluation points, or the validations of the others."""
        evaluated = [{"iteration": position(row), **row["eval"]} for row in self.rows if _is_table(row.get("eval"))]
        return evaluated or [row for row in self._side.rows if number(row, "step") is not None]

    @property
    def method(self) -> str:
        """``ppo``, ``grpo``, ``sft``, ``rm`` or ``base``; ``run`` where nothing says so yet."""
        return str(self._fact("method") or "run")

    @property
    def seed(self) -> int | None:
        """The run's seed, if known."""
        found = self._fact("seed")
        return found if isinstance(found, int) else None

    @property
    def position(self) -> int:
        """Iterations or steps done."""
        return position(self.rows[-1]) if self.rows else 0

    @property
    def total(self) -> int | None:
        """Iterations or steps in all, if known."""
        found = self._fact("num_iterations") or self._fact("steps")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def pace(self) -> float | None:
        """Mean seconds of the last lines."""
        found = [seconds for row in self.rows[-RECENT:] if (seconds := number(row, "seconds")) is not None]
        return statistics.fmean(found) if found else None

    @property
    def eta(self) -> float | None:
        """Seconds left at this pace."""
        if self.total is None or self.pace is None:
            return None
        return max(0, self.total - self.position) * self.pace

    @property
    def age(self) -> float | None:
        """Seconds since the last line was written."""
        try:
            return max(0.0, time.time() - self._log.path.stat().st_mtime) if self.rows else None
        except OSError:
            return None

    def state(self) -> State:
        """What has become of it."""
        return state_of(self.out, self.folder, lines=len(self.rows), age=self.age, pace=self.pace)

    def last(self, *names: str) -> float | None:
        """The latest value of a number, inner mappings by their path; from the points if the lines have none."""
        for row in (*self.rows[-1:], *reversed(self.points)):
            if (value := number(row, *names)) is not None:
                return value
        return None

    @property
    def best(self) -> int | None:
        """The iteration of the best evaluation point so far, by the run's own rule."""
        found = next((p["best"] for p in reversed(self.points) if number(p, "best") is not None), None)
        found = self._said.get("best") if found is None else found
        return int(found) if isinstance(found, (int, float)) else None

    def _fact(self, name: str) -> Any:
        found = self.rows[-1].get(name) if self.rows else None
        return self._said.get(name) if found is None else found


def position(row: Mapping[str, Any]) -> int:
    """Give the iteration or step of a line; 0 where it has none."""
    found = number(row, "iteration")
    found = number(row, "step") if found is None else found
    return int(found or 0)


def number(row: Mapping[str, Any], *names: str) -> float | None:
    """Give a finite number of a row, inner mappings by their path; None where there is none."""
    value: Any = row
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


class Watched:
    """All runs that were asked for; those of a directory are looked for again each time.

    Args:
        paths: artifacts, run folders, names of runs to come, or directories of them.

    Raises:
        MissingError: nothing can ever be there.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(dict.fromkeys(Path(path).absolute() for path in paths))
        self._runs: dict[Path, WatchedRun] = {}
        for path in self.paths:
            _require_possible(path)

    @property
    def runs(self) -> list[WatchedRun]:
        """The runs found so far, in the order asked for, those of a directory by name."""
        return list(self._runs.values())

    @property
    def awaited(self) -> list[Path]:
        """The paths at which nothing is yet, finished or unfinished."""
        return [path for path in self.paths if not (path.exists() or _hidden(path) or is_run(path))]

    def poll(self) -> bool:
        """Look for runs and read what is new; say whether anything changed."""
        found = {out: self._runs.get(out) or WatchedRun(out) for path in self.paths for out in runs_at(path)}
        changed = list(found) != list(self._runs)
        self._runs = found
        return any([run.poll() for run in self.runs]) or changed


def runs_at(path: Path) -> Iterator[Path]:
    """Yield where the runs that a path names are published."""
    if _hidden(path):
        yield path.parent / path.name[1:-4]
    elif is_run(path) or not path.is_dir():
        yield path
    else:
        inside = sorted(path.iterdir())
        names = {path / (one.name[1:-4] if _hidden(one) else one.name) for one in inside if one.is_dir()}
        yield from sorted(filter(is_run, names), key=_by_number)


def is_run(out: Path) -> bool:
    """Whether a run is at this name: unfinished, or published with its log."""
    if (out.parent / f".{out.name}.run").is_dir():
        return True
    try:
        return (out / LOG).is_file() and _trained(out, (out / MANIFEST).stat().st_mtime_ns)
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _trained(out: Path, changed: int) -> bool:
    """Whether an artifact says, in its manifest or in its log, by which method it was trained."""
    if _manifest(out / MANIFEST).get("method"):
        return True
    (log := Tail(out / LOG)).poll()
    return any("method" in row for row in log.rows[:1])


def _by_number(path: Path) -> list[str | int]:
    """What names are sorted by: grpo-42 comes before grpo-123."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".run") and len(path.name) > 5


def _require_possible(path: Path) -> None:
    if not path.parent.is_dir():
        raise MissingError(
            f"there is no directory {path.parent}", expected="a run, or a directory of runs", do=nearby(path.parent)
        )
    if (path / MANIFEST).is_file() and not is_run(path):
        near = [str(one) for one in runs_at(path.parent)]
        raise MissingError(
            f"{path} has no {LOG}, so there is nothing to watch",
            expected="an artifact of a training, or a directory of them",
            do=did_you_mean(str(path), near),
        )


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _manifest(path: Path) -> dict[str, Any]:
    """What the manifest adds for logs of an earlier version: method, seed, number of iterations, the chosen point."""
    try:
        found = json.loads(path.read_text("utf-8"))
        details, config = found["details"], found["config"]
        method = "rm" if found["kind"] == "reward_model" else details.get("method")
        said = {"method": method, "seed": details.get("seed", config.get("seed"))}
        return said | {
            "num_iterations": config.get("num_iterations"),
            "best": (details.get("selection") or {}).get("step"),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
