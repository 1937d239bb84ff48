"""Progress of long work: a live bar on a terminal, a plain line now and then elsewhere."""

import os
import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


class Meter:
    """Counts finished steps of one piece of work; use as a context manager.

    Args:
        label: what is being done, such as ``ppo seed 42``.
        total: number of steps.
        unit: what a step is called.
        quiet: show nothing.
        every: seconds between plain lines where standard error is no terminal.
    """

    def __init__(self, label: str, total: int, *, unit: str = "step", quiet: bool = False, every: float = 10.0):
        self.label, self.total, self.unit, self.quiet, self.every = label, total, unit, quiet, every
        self.done = 0
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._last = self._start = time.monotonic()

    def __enter__(self) -> "Meter":
        if not self.quiet and self._console.is_terminal and os.environ.get("TERM") != "dumb":
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[facts]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(self.label, total=self.total, facts="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, steps: int = 1, **facts: Any) -> None:
        """Count steps as done and show the latest facts (numbers are shortened)."""
        self.done += steps
        if self.quiet:
            return
        text = "  ".join(f"{k} {_short(v)}" for k, v in facts.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, facts=text)
            return
        now = time.monotonic()
        if now - self._last >= self.every or self.done >= self.total:
            self._last = now
            print(
                f"{self.label}: {self.unit} {self.done}/{self.total}  {now - self._start:.0f} s  {text}",
                file=sys.stderr,
            )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
