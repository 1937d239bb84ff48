"""Progress of long work: two live lines on a terminal, a plain line now and then elsewhere."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

RECENT = 50
"""Calls of `Meter.advance` whose time gives the time left."""
SPARSER = 0.01
"""Plain lines come at most once in this part of the time spent so far: a day has some hundreds of them."""
NOTICED = 0.5
"""Seconds after which a terminal shows what is being done: shorter work would only flicker."""

_open: list["Meter"] = []


def doing(what: str, *, aloud: bool = False) -> None:
    """Say what is being done now, if a meter is open: what computes need not be handed one.

    Args:
        what: such as ``loading the base``; a terminal shows it, with its seconds, until the next step or the next word.
        aloud: a plain log gets a line too. For what is done once and takes a while, before the first step and after the
            last: without a word it looks like a program that hangs.
    """
    if _open:
        _open[-1].doing(what, aloud=aloud)


class Meter:
    """Counts finished steps of one piece of work; use as a context manager.

    A terminal shows stage, step, time left, what is being done and the latest facts, in colour unless ``NO_COLOR`` is
    set. Elsewhere, and where ``TERM=dumb``, plain lines say the same. A meter inside another one has a row of its own
    in the other's lines, for as long as it is open.

    Args:
        label: what is being done, such as ``ppo seed 42``.
        total: number of steps; None where only `begin` will tell.
        unit: what a step is called.
        quiet: show nothing.
        every: least seconds between plain lines.
    """

    def __init__(
        self, label: str, total: int | None = None, *, unit: str = "step", quiet: bool = False, every: float = 10.0
    ):
        self.label, self.total, self.unit, self.quiet, self.every = label, total, unit, quiet, every
        self.done = 0
        self.facts: dict[str, Any] = {}
        self._console = Console(stderr=True)
        self._bar: _Bar | None = None
        self._last = self._start = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT + 1)

    def __enter__(self) -> "Meter":
        if not self.quiet and self._console.is_terminal and os.environ.get("TERM") != "dumb":
            self._around = next((meter._bar for meter in _open if meter._bar is not None), None)
            self._bar = self._around or _Bar(*_columns(), console=self._console, refresh_per_second=4)
            self._task = self._bar.add_task(self.label, total=self.total, unit=self.unit, left="", now=None, facts="")
            if self._around is None:
                self._bar.start()
        _open.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open.remove(self)
        if self._bar is None:
            return
        self._show(now=None)
        if self._around is None:
            self._bar.stop()
        else:
            self._bar.remove_task(self._task)

    def begin(self, total: int, done: int = 0) -> None:
        """Say how many steps there are, and how many of them an earlier process did."""
        self.total, self.done = total, done
        self._recent.clear()
        self._show(total=total, completed=done, now=None)

    def doing(self, what: str, *, aloud: bool = False) -> None:
        """Say what is being done now, see the function of this name."""
        self._show(now=(what, time.monotonic()))
        if aloud and self._bar is None and not self.quiet:
            print(f"{self.label}: {what}", file=sys.stderr)

    def advance(self, steps: int = 1, **facts: Any) -> None:
        """Count steps as done and show the latest facts: numbers are shortened, those not given again stay."""
        self.done += steps
        self.facts |= facts
        now = time.monotonic()
        self._recent.append((now, self.done))
        text = "  ".join(f"{name} {_short(value)}" for name, value in self.facts.items())
        left = "" if self.left is None else f"{_clock(self.left)} left"
        self._show(completed=self.done, left=left, now=None, facts=text)
        if self.quiet or self._bar is not None:
            return
        if now - self._last >= max(self.every, SPARSER * (now - self._start)) or self.done == self.total:
            self._last = now
            spent = f"{_clock(now - self._start)}{f', {left}' if left else ''}"
            print(f"{self.label}: {self.unit} {self.done}/{self.total}  {spent}  {text}".rstrip(), file=sys.stderr)

    @property
    def left(self) -> float | None:
        """Seconds left at the recent pace; None before there is one, and at the end.

        A process's first step does not count: it compiles, and reads what later ones find ready.
        """
        if self.total is None or len(self._recent) < 2 or self.done >= self.total:
            return None
        (before, first), (now, last) = self._recent[0], self._recent[-1]
        return (now - before) / (last - first) * (self.total - last)

    def _show(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._task, **fields)


class _Bar(Progress):
    """Rows of tasks, and the facts of each on a line of their own."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        for task in self.tasks:
            if facts := task.fields["facts"]:
                yield Text(f"  {facts}", no_wrap=True, overflow="ellipsis")


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.fields['unit']} {task.completed:.0f}/{task.total:.0f}")


class _Now(ProgressColumn):
    """What is being done, and for how long."""

    def render(self, task: Task) -> Text:
        what, since = task.fields["now"] or ("", 0.0)
        spent = time.monotonic() - since
        return Text(f"{what} {_clock(spent)}" if what and spent >= NOTICED else "", style="dim")


def _columns() -> tuple[ProgressColumn, ...]:
    left = TextColumn("{task.fields[left]}", style="cyan")
    return SpinnerColumn(), TextColumn("[bold]{task.description}"), BarColumn(bar_width=24), _Count(), left, _Now()


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
