"""What has become of a run: read from its folder, its lock, its diagnosis and its published artifact."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts.durable import lock_holder

DIAGNOSIS = "diagnosis.json"
"""As `align_mlx.diagnosis` names it, which loads a model's libraries: a watcher does without them."""
ENDED = ("finished", "stopped", "killed", "diverged")
"""States in which nothing more comes until somebody starts the run again."""
SILENCE = 60.0
"""Seconds, besides five usual iterations, after which a running process is called silent."""


@dataclass(frozen=True)
class State:
    """What has become of a run.

    Attributes:
        word: waiting (not there yet), starting (no line yet), running, silent (running, but no line for long), stopped
            (can be continued), killed (its process is gone, and can be continued), diverged, or finished.
        detail: the same in a sentence, or "".
    """

    word: str
    detail: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more comes by itself."""
        return self.word in ENDED


def state_of(out: Path, folder: Path, *, lines: int, age: float | None, pace: float | None) -> State:
    """Say what has become of a run.

    Args:
        out: where its artifact is published.
        folder: its run folder, there until then.
        lines: lines of its log.
        age: seconds since the last line; None without one.
        pace: usual seconds between two lines; None if unknown.
    """
    holder = lock_holder(folder)
    alive = holder is not None and _alive(*holder, age, pace)
    if not folder.is_dir() and not alive:
        return State("finished") if (out / "manifest.json").is_file() else State("waiting", "not there yet")
    if alive:
        if lines == 0:
            return State("starting", "no line yet")
        late = age is not None and age > SILENCE + 5 * (pace or 0.0)
        return State("silent", f"no line for {duration(age)}") if late else State("running")
    if reason := diagnosed(folder):
        return State("diverged", reason)
    since = "" if age is None else f" {duration(age)} ago"
    if holder is not None:
        return State("killed", f"its process is gone, last line{since}; the same command continues it")
    return State("stopped", f"last line{since}; the same command continues it")


def duration(seconds: float | None) -> str:
    """Write a time with its two largest units: ``7 s``, ``3 min 20 s``, ``5 h 12 min``, ``2 d 3 h``."""
    if seconds is None:
        return "—"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def diagnosed(folder: Path) -> str | None:
    """Give the diagnosis of a run folder in a sentence, or None where there is none."""
    try:
        found: Any = json.loads((folder / DIAGNOSIS).read_text("utf-8"))
        when = next(f"{unit} {found[unit]}" for unit in ("iteration", "step") if unit in found)
        rows = len(found["offending_rows"])
        which = f", {rows} row{'s' if rows != 1 else ''} to blame" if rows else ""
        return f"{found['not_finite']} was {found['value']} in the {found['phase']} of {when}{which}"
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return f"see {DIAGNOSIS}"


def _alive(pid: int, words: str, age: float | None, pace: float | None) -> bool:
    """Whether the holder of a lock lives: of another machine only the log's age tells."""
    if f" on {platform.node() or 'localhost'} since " not in words:
        return age is None or age <= SILENCE + 5 * (pace or 0.0)
    try:
        os.kill(pid, 0)  # signal 0 asks, and disturbs nobody
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
