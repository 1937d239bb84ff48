"""What the steps write, kept over every attempt, so that the story of an interrupted night can be read.

``.logs/NAME.log`` has each attempt between a line that says when and how it began and one that says how it ended; an
attempt without an end was killed. ``.logs/pipeline.log`` has one line for everything the pipeline did.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

MARK = "=== "
"""Begins the lines that are the pipeline's own."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TAIL = 65_536


class Log:
    """The log of one attempt at a step, at the end of those before it.

    Args:
        path: the file; attempts before this one stay in it.
        command: what is run.
    """

    def __init__(self, path: Path, command: Sequence[str]) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("ab")
        self.begun = time.monotonic()
        self._mark(f"{now()}  $ {shlex.join(command)}")
        self.start = self.file.tell()

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.begun

    def close(self, outcome: str) -> None:
        """Say how the attempt ended."""
        self._mark(f"{now()}  {outcome} after {self.seconds:.1f} s")
        self.file.close()

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that this attempt has written, without control characters."""
        with self.path.open("rb") as file:
            file.seek(max(self.start, self.path.stat().st_size - _TAIL))
            return lines_of(file.read())[-count:]

    def remarks(self) -> list[str]:
        """Return the warnings and notes of this attempt: lines that begin so."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return [line for line in lines_of(file.read()) if line.startswith(("warning: ", "note: "))]

    def _mark(self, text: str) -> None:
        self.file.write(f"{MARK}{text}\n".encode())
        self.file.flush()


def last_attempt(path: Path) -> list[str]:
    """Return what the last attempt in a log wrote, in lines; none where there is no log."""
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace")
    attempts = re.split(rf"(?m)^{MARK}[^$\n]*\$ .*\n", text)
    return [line for line in attempts[-1].splitlines() if not line.startswith(MARK)]


def lines_of(data: bytes) -> list[str]:
    """Split what a program wrote into lines without control sequences, empty ones and the pipeline's own left out."""
    text = _ANSI.sub("", data.decode(errors="replace"))
    lines = (line.strip() for line in re.split(r"[\r\n]+", text))
    return [line for line in lines if line and not line.startswith(MARK)]


def now() -> str:
    """Return the time as logs write it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
