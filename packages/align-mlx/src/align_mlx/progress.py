"""Progress of long work: two live lines on a terminal, a plain line now and then elsewhere."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

RECENT = 50
"""Calls of `Meter.advance` whose time gives the time left."""
SPARSER = 0.01
"""Plain lines come at most once in this part of the time spent so far: a day has some hundreds of them."""


class Meter:
    """Counts finished steps of one piece of work; use as a context manager.

    A terminal shows stage, step, time left and the latest facts, in colour unless ``NO_COLOR`` is set. Elsewhere, and
    where ``TERM=dumb``, plain lines say the same.

    Args:
        label: what is being done, such as ``ppo seed 42``.
        total: number of steps.
        unit: what a step is called.
        quiet: show nothing.
        every: least seconds between plain lines.
    """

    def __init__(self, label: str, total: int, *, unit: str = "step", quiet: bool = False, every: float = 10.0):
        self.label, self.total, self.unit, self.quiet, self.every = label, total, unit, quiet, every
        self.done = 0
        self.facts: dict[str, Any] = {}
        self._console = Console(stderr=True)
        self._bar: _Bar | None = None
        self._last = self._start = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT + 1)

    def __enter__(self) -> "Meter":
        if not self.quiet and self._console.is_terminal and os.environ.get("TERM") != "dumb":
            columns = (
                SpinnerColumn(),
                TextColumn("[bold]{task.description}", markup=True),
                BarColumn(bar_width=24),
                TextColumn(f"{self.unit} {{task.completed}}/{{task.total}}"),
                TextColumn("{task.fields[left]}", style="cyan"),
            )
            self._bar = _Bar(*columns, console=self._console, refresh_per_second=4)
            self._task = self._bar.add_task(self.label, total=self.total, left="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1, **facts: Any) -> None:
        """Count steps as done and show the latest facts: numbers are shortened, those not given again stay.

        The first call may count what an earlier process did: it does not enter the time left.
        """
        self.done += steps
        self.facts |= facts
        now = time.monotonic()
        self._recent.append((now, self.done))
        if self.quiet:
            return
        text = "  ".join(f"{name} {_short(value)}" for name, value in self.facts.items())
        left = "" if self.left is None else f"{_clock(self.left)} left"
        if self._bar is not None:
            self._bar.facts = text
            self._bar.update(self._task, completed=self.done, left=left)
            return
        if now - self._last >= max(self.every, SPARSER * (now - self._start)) or self.done >= self.total:
            self._last = now
            spent = f"{_clock(now - self._start)}{f', {left}' if left else ''}"
            print(f"{self.label}: {self.unit} {self.done}/{self.total}  {spent}  {text}", file=sys.stderr)

    @property
    def left(self) -> float | None:
        """Seconds left at the recent pace; None before there is one, and at the end."""
        (before, first), (now, last) = self._recent[0], self._recent[-1]
        return (now - before) / (last - first) * (self.total - last) if first < last < self.total else None


class _Bar(Progress):
    """A bar with the facts on a line of their own."""

    facts = ""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        if self.facts:
            yield Text(f"  {self.facts}", no_wrap=True, overflow="ellipsis")


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
