"""Runs planned steps as processes, as many at a time as asked for, and shows one line for each."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from align_contracts import AlignError, PreflightError
from pipeline.plan import Planned, finished

HEARTBEAT = 30.0
"""Seconds between lines about running steps where the output is no terminal."""
PATIENCE = 40.0
"""Seconds that an interrupted step has to save its state."""
SCRIPTS = Path(sys.executable).parent
"""Console scripts are installed beside the interpreter."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class StepError(AlignError):
    """A step ended with an exit code other than 0; it becomes the pipeline's."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(what)
        self.exit_code = code if code > 0 else 1


@dataclass
class Running:
    """A step's process."""

    planned: Planned
    process: subprocess.Popen[bytes]
    log: Path
    file: IO[bytes]
    started: float

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines it has written, without control characters."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8192))
            text = _ANSI.sub("", file.read().decode(errors="replace"))
        return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()][-count:]

    def said(self) -> str:
        """Return the last thing it said; the log's first line is the command itself."""
        line = "".join(self.last_lines(1))
        return "starting" if line.startswith("$ ") else line


class Pool:
    """Runs steps in order of their needs.

    Args:
        logs: Directory for what the steps write, one ``NAME.log`` each.
        jobs: Steps that may run at the same time.
        console: Where the lines go.
        scripts: Where the console scripts are.
    """

    def __init__(self, logs: Path, jobs: int, console: Console, scripts: Path = SCRIPTS) -> None:
        self.logs, self.jobs, self.console, self.scripts = logs, jobs, console, scripts
        self.running: list[Running] = []
        self.kept = 0
        self._spoke = time.monotonic()

    def run(self, steps: Sequence[Planned]) -> None:
        """Run every step that has no artifact yet; stop all when one fails or the user interrupts.

        Raises:
            StepError: A step ended with an error.
            AlignError: An artifact that is there cannot be kept.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        waiting, there = list(steps), set[str]()
        live = Live(get_renderable=self._status, console=self.console, transient=True, refresh_per_second=5)
        with live if self.console.is_terminal else nullcontext():
            try:
                while waiting or self.running:
                    for planned in [one for one in waiting if one.step.needs <= there]:
                        if len(self.running) < self.jobs:
                            waiting.remove(planned)
                            there |= self._begin(planned)
                    there |= self._reap()
                    self._heartbeat()
            finally:
                self._stop()

    def _begin(self, planned: Planned) -> set[str]:
        name = planned.step.name
        if finished(planned):
            self.kept += 1
            self._line(name, "kept", "")
            return {name}
        script = self.scripts / planned.step.script
        if not script.exists():
            raise PreflightError(f"there is no console script {script}", do="Run uv sync")
        command = [str(script), *planned.argv]
        log = self.logs / f"{name}.log"
        file = log.open("wb")
        file.write(f"$ {shlex.join([planned.step.script, *planned.argv])}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(self.jobs, os.environ),
            start_new_session=True,  # Ctrl-C reaches it once, through _stop
        )
        self.running.append(Running(planned, process, log, file, time.monotonic()))
        return set()

    def _reap(self) -> set[str]:
        """Wait a moment, then return the names of the steps that have ended well."""
        time.sleep(0.05 if self.running else 0)
        ended = [one for one in self.running if one.process.poll() is not None]
        for one in ended:
            self.running.remove(one)
            one.file.close()
            name, code = one.planned.step.name, one.process.returncode
            if code != 0:
                self._line(name, f"failed with exit code {code}", f"{one.seconds:.1f} s", "red")
                for line in one.last_lines(15):
                    self.console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
                raise StepError(f"{name} failed; all it wrote is in {one.log}", code)
            self._line(name, "done", f"{one.seconds:.1f} s", "green")
        return {one.planned.step.name for one in ended}

    def _stop(self) -> None:
        """Ask the running steps to save and stop; insist after `PATIENCE`, or at once at a second Ctrl-C."""
        try:
            for number, patience in ((signal.SIGINT, PATIENCE), (signal.SIGTERM, 5.0)):
                _signal(self.running, number)
                end = time.monotonic() + patience
                while self.running and time.monotonic() < end:
                    time.sleep(0.05)
                    self.running = [one for one in self.running if one.process.poll() is None]
        finally:
            _signal(self.running, signal.SIGKILL)

    def _line(self, name: str, word: str, seconds: str, style: str = "dim") -> None:
        self._spoke = time.monotonic()
        self.console.print(f"{name:<22} {seconds:>10}  [{style}]{word}[/]", highlight=False)

    def _heartbeat(self) -> None:
        if self.console.is_terminal or time.monotonic() - self._spoke < HEARTBEAT:
            return
        for one in self.running:
            self._line(one.planned.step.name, f"… {escape(one.said())}", f"{one.seconds:.0f} s")

    def _status(self) -> Group:
        lines = []
        for one in self.running:
            line = Text(
                f"{one.planned.step.name:<22} {f'{one.seconds:.0f} s':>10}  ", no_wrap=True, overflow="ellipsis"
            )
            lines.append(line.append(one.said(), style="dim"))
        return Group(*lines)


def environment(jobs: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a step's environment: with several jobs every step computes on its share of the cores.

    Also a step that happens to run alone: the last bits of a result depend on the number of BLAS threads, and two
    spinning threads on a core that is taken are many times slower than one.

    Args:
        jobs: Steps that may run at the same time.
        inherited: The pipeline's own environment; what it sets is kept.
    """
    env = {"PYTHONUNBUFFERED": "1", **inherited}
    if jobs > 1:
        env.setdefault("OPENBLAS_NUM_THREADS", str(max(1, cores() // jobs)))
    return env


def cores() -> int:
    """Return how many cores this process may use."""
    allowed: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _signal(running: Sequence[Running], number: int) -> None:
    for one in running:
        try:
            os.killpg(one.process.pid, number)
        except ProcessLookupError:
            continue
