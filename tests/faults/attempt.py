"""Run a row in a process of its own, which may crash, hang or be interrupted without harm to the campaign."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from faults.one import COUNT
from faults.row import Count, Row

OUTPUT = "output.txt"
_SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
_running: set[int] = set()
"""The rows' processes; each leads a group of its own."""


@dataclass(frozen=True)
class Outcome:
    """What became of a row: its count, its seconds, and whether it kept the promise."""

    row: Row
    count: Count
    seconds: float
    passed: bool


def attempt(module: str, row: Row, home: Path, tries: int, seed: int, limit: float) -> Outcome:
    """Run a row; its scratch directory goes if it passed.

    Args:
        module: where the row is defined.
        row: the row.
        home: the campaign's directory, in which the row gets one of its own.
        tries: how often to try.
        seed: of all its randomness.
        limit: seconds after which it counts as hanging.
    """
    began = time.monotonic()
    scratch = home / row.name
    scratch.mkdir()
    with (scratch / OUTPUT).open("w") as output, _process(module, row, scratch, tries, seed, output) as process:
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
    count = _count(scratch, status, limit)
    if count.tried < tries and not count.failures:
        count = Count(count.survived, count.tried, (f"it tried fewer times than the {tries} that are promised",))
    passed = count.survived == count.tried and not count.failures
    if passed:
        shutil.rmtree(scratch, ignore_errors=True)
    return Outcome(row, count, time.monotonic() - began, passed)


@contextlib.contextmanager
def _process(
    module: str, row: Row, scratch: Path, tries: int, seed: int, output: TextIO
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a row in a session of its own; whatever is left of its group afterwards is killed."""
    command = [sys.executable, "-m", "faults.one", module, row.name, str(scratch), str(tries), str(seed)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # TMPDIR stays: MLX keeps its compiled kernels there
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    _running.add(process.pid)
    try:
        yield process
    finally:
        _kill(process.pid, group=True)
        process.wait()
        _running.discard(process.pid)


def _count(scratch: Path, status: int | None, limit: float) -> Count:
    """Read what a row left; one that left nothing has failed."""
    if status is None:
        return Count(0, 0, (f"it did not end within {limit:.0f} s",))
    if status == 0 and (scratch / COUNT).exists():
        raw = json.loads((scratch / COUNT).read_text(encoding="utf-8"))
        return Count(raw["survived"], raw["tried"], tuple(raw["failures"]), tuple(raw["notes"]))
    last = (scratch / OUTPUT).read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    return Count(0, 0, (f"it ended with {how}: {last or 'it said nothing'} (all of it in {OUTPUT})",))


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent dies, so that they can be found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def kill_children() -> list[int]:
    """Kill the rows that run, and every child of this process, adopted ones too (Linux); give the children's ids."""
    for leader in tuple(_running):
        _kill(leader, group=True)
    if sys.platform != "linux":
        return []
    found = [
        int(child) for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    ]
    for child in found:
        _kill(child)
    return found


def _kill(process: int, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process, signal.SIGKILL)


def kill_orphans() -> None:
    """Kill and bury what rows have started in sessions of their own and not ended; call it when no row runs."""
    while orphans := kill_children():
        for orphan in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(orphan, 0)
