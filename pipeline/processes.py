"""Runs planned steps as processes, as many at a time as asked for, and shows one line for each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from align_contracts import PreflightError, signals
from align_contracts.console.lifeline import LIFELINE
from pipeline.leftovers import clear
from pipeline.logs import Log, now
from pipeline.outcome import Failure, Outcome
from pipeline.plan import Planned, finished

HEARTBEAT = 30.0
"""Seconds between lines about running steps where the output is no terminal."""
PATIENCE = ((signal.SIGINT, 27.0), (signal.SIGTERM, 2.0))
"""Seconds that an interrupted step has to save its state, and after a second signal, which ends it at once."""
BURIAL = 5.0
"""Seconds that the system may take to end what was killed."""
SCRIPTS = Path(sys.executable).parent
"""Console scripts are installed beside the interpreter."""


@dataclass
class Running:
    """A step's process."""

    planned: Planned
    process: subprocess.Popen[bytes]
    log: Log

    @property
    def name(self) -> str:
        """The step's name."""
        return self.planned.step.name

    def said(self) -> str:
        """Return the last thing it said."""
        return "".join(self.log.last_lines(1)) or "starting"


@dataclass
class Pool:
    """Runs steps in order of their needs.

    Steps are sessions of their own: Ctrl-C in a terminal reaches them once, through the pipeline, and what kills the
    pipeline cuts their lifeline (`align_contracts.console.lifeline`).

    Attributes:
        logs: Directory for what the steps write, see `pipeline.logs`.
        jobs: Steps that may run at the same time.
        console: Where the lines go.
        scripts: Where the console scripts are.
        inherited: File descriptors that stay open as long as a step runs: the lock of the artifacts' directory.
        outcome: What has come of the steps.
    """

    logs: Path
    jobs: int
    console: Console
    scripts: Path = SCRIPTS
    inherited: tuple[int, ...] = ()
    running: list[Running] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)
    _told: set[str] = field(default_factory=set)
    _spoke: float = field(default_factory=time.monotonic)
    _lifeline: tuple[int, int] = field(default_factory=os.pipe)

    def run(self, steps: Sequence[Planned]) -> Outcome:
        """Run every step that has no artifact yet; where one fails, those that do not need it go on.

        Raises:
            AlignError: An artifact that is there cannot be kept, or the user interrupts.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        waiting = list(steps)
        live = Live(get_renderable=self._status, console=self.console, transient=True, refresh_per_second=5)
        with live if self.console.is_terminal else nullcontext():
            try:
                while waiting or self.running:
                    for planned in list(waiting):
                        if self.outcome.block(planned.step):
                            waiting.remove(planned)
                        elif planned.step.needs <= self.outcome.there and len(self.running) < self.jobs:
                            waiting.remove(planned)
                            self._begin(planned)
                    self._reap()
                    self._heartbeat()
            finally:
                self._stop()
        return self.outcome

    def _begin(self, planned: Planned) -> None:
        name = planned.step.name
        if finished(planned):
            clear(planned.target)
            self.outcome.kept.append(name)
            self._line(name, "kept", "")
            return
        script = self.scripts / planned.step.script
        if not script.exists():
            raise PreflightError(f"there is no console script {script}", do="Run uv sync")
        log = Log(self.logs / f"{name}.log", [planned.step.script, *planned.argv])
        self._note(f"{name} begins")
        lifeline = self._lifeline[0]
        with signals.a_moment():  # what is started is known, so that it can be stopped
            process = subprocess.Popen(
                [str(script), *planned.argv],
                stdin=subprocess.DEVNULL,
                stdout=log.file,
                stderr=subprocess.STDOUT,
                env={**environment(self.jobs, os.environ), LIFELINE: str(lifeline)},
                start_new_session=True,
                pass_fds=(lifeline, *self.inherited),
            )
            self.running.append(Running(planned, process, log))

    def _reap(self) -> None:
        """Wait a moment, then tell of the steps that have ended."""
        time.sleep(0.05 if self.running else 0)
        for one in self._ended():
            code, seconds = one.process.returncode, f"{one.log.seconds:.1f} s"
            if code == 0:
                self.outcome.made.append(one.name)
                self._line(one.name, "done", seconds, "green")
                self._tell([line for line in one.log.remarks() if line not in self._told])
                continue
            failure = Failure(one.name, code, one.log.path)
            self.outcome.failed.append(failure)
            self._line(one.name, failure.how, seconds, "red")
            self._tell(one.log.last_lines(15))

    def _ended(self) -> list[Running]:
        """Return the steps that have ended, which run no more."""
        ended = [one for one in self.running if one.process.poll() is not None]
        for one in ended:
            self.running.remove(one)
            code = one.process.returncode
            one.log.close(Failure(one.name, code, one.log.path).how if code else "done")
        return ended

    def _stop(self) -> None:
        """Ask the running steps to save and stop; insist after `PATIENCE`, or at once at a second Ctrl-C."""
        try:
            for number, patience in PATIENCE:
                self._end(number, patience)
        finally:
            self._end(signal.SIGKILL, BURIAL)

    def _end(self, number: int, patience: float) -> None:
        """Send a signal to the running steps, and note those that end within so many seconds."""
        _signal(self.running, number)
        end = time.monotonic() + patience
        while self.running and time.monotonic() < end:
            time.sleep(0.05)
            for one in self._ended():
                self._note(f"{one.name} interrupted")

    def _line(self, name: str, word: str, seconds: str, style: str = "dim") -> None:
        self._spoke = time.monotonic()
        self._print(f"{name:<22} {seconds:>10}  [{style}]{word}[/]")
        if not word.startswith("…"):
            self._note(f"{name} {word}")

    def _tell(self, lines: Sequence[str]) -> None:
        """Show lines of a log; a warning that every step repeats is shown once."""
        for line in lines:
            self._print(f"  {escape(line)}")
        self._told |= set(lines)

    def _print(self, line: str) -> None:
        """Print a line whole: a log has no width, and a terminal breaks it itself."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def _note(self, text: str) -> None:
        with (self.logs / "pipeline.log").open("a") as file:
            file.write(f"{now()}  {text}\n")

    def _heartbeat(self) -> None:
        if self.console.is_terminal or time.monotonic() - self._spoke < HEARTBEAT:
            return
        for one in self.running:
            self._line(one.name, f"… {escape(one.said())}", f"{one.log.seconds:.0f} s")

    def _status(self) -> Group:
        lines = []
        for one in self.running:
            line = Text(f"{one.name:<22} {f'{one.log.seconds:.0f} s':>10}  ", no_wrap=True, overflow="ellipsis")
            lines.append(line.append(one.said(), style="dim"))
        return Group(*lines)


def environment(jobs: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a step's environment: with several jobs every step computes on its share of the cores.

    Also a step that happens to run alone: the last bits of a result depend on the number of BLAS threads, and two
    spinning threads on a core that is taken are many times slower than one.

    Where Python may not keep compiled modules beside their sources (``PYTHONDONTWRITEBYTECODE``), each of some 26 steps
    would compile a thousand of them again, a second of work: they are kept in the virtual environment instead.

    Args:
        jobs: Steps that may run at the same time.
        inherited: The pipeline's own environment; what it sets is kept.
    """
    env = {"PYTHONUNBUFFERED": "1", **inherited}
    if jobs > 1:
        env.setdefault("OPENBLAS_NUM_THREADS", str(max(1, cores() // jobs)))
    if env.get("PYTHONDONTWRITEBYTECODE") and "PYTHONPYCACHEPREFIX" not in env and sys.prefix != sys.base_prefix:
        env |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "bytecode")}
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
