"""A growing JSONL file, each line read once."""

import json
import os
from pathlib import Path
from typing import Any

Row = dict[str, Any]
MEMORY = 64
"""Bytes before the place read up to that are compared before reading on: a log that was cut may have grown again."""


class Tail:
    """The whole lines of a log that another process appends to, cuts back, moves or removes.

    Args:
        path: the log; it need not be there yet.

    Attributes:
        rows: its lines so far; those that are no JSON object are left out. A last line without its end waits.
        read_bytes: how much was read, in all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.read_bytes = 0
        self._last = b""
        self._forget()

    def poll(self) -> bool:
        """Read what was appended since the last time; say whether `rows` changed."""
        before = len(self.rows)
        try:
            with self.path.open("rb") as file:
                known = os.fstat(file.fileno())
                fresh = self._goes_on(file, known)
                if not fresh:
                    self._forget()
                    self._file = known.st_dev, known.st_ino
                    file.seek(0)
                data = file.read()
        except OSError:  # not there yet, or gone: another attempt will come
            fresh, data = not before, b""
            self._forget()
        self._take(data)
        return not fresh or len(self.rows) != before

    def _goes_on(self, file: Any, known: os.stat_result) -> bool:
        """Whether the file is the one read before, with the same bytes before the place; moves there."""
        if self._file != (known.st_dev, known.st_ino) or known.st_size < self._place:
            return False
        file.seek(self._place - len(self._last))
        return bool(file.read(len(self._last)) == self._last)

    def _take(self, data: bytes) -> None:
        self.read_bytes += len(data)
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict):
                self.rows.append(row)
        self._place += len(whole)
        self._last = (self._last + whole)[-MEMORY:]

    def _forget(self) -> None:
        self.rows = []
        self._file = (0, 0)
        self._place, self._last = 0, b""
