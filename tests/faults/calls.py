"""Every call with which Python changes the disk, counted, so that a fault can strike at each of them in turn.

Writes of libraries in other languages (MLX's own files) pass by: real kills and real full disks reach those.
"""

import builtins
import contextlib
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from align_contracts import durable

WRITING = ("open", "write", "fsync", "mkdir", "rename", "exchange", "flock")
"""What a full or broken disk can refuse."""
REMOVING = ("unlink", "rmdir")
"""What it cannot, but before and after which a process can die."""
_CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_REAL = {
    name: getattr(os, name) for name in ("write", "fsync", "mkdir", "rename", "replace", "unlink", "remove", "rmdir")
}
_SAME = {"replace": "rename", "remove": "unlink"}


@dataclass
class Striker:
    """Counts calls and lets a fault strike at one of them.

    Attributes:
        at: number of the call that is struck, from 1; 0 for none.
        fault: what happens there; it raises, or ends the process.
        names: the calls that count.
        lasting: the calls that fail from then on, as on a disk that stays full.
        seen: names of the calls so far.
    """

    at: int = 0
    fault: Callable[[], Any] = lambda: None
    names: tuple[str, ...] = WRITING + REMOVING
    lasting: tuple[str, ...] = ()
    seen: list[str] = field(default_factory=list)

    def __call__(self, name: str, tear: Callable[[], Any] = lambda: None) -> None:
        """Count a call that is about to happen; if it is struck, `tear` does half of it first."""
        if name not in self.names:
            return
        self.seen.append(name)
        if len(self.seen) == self.at:
            tear()
            self.fault()
        elif name in self.lasting and 0 < self.at < len(self.seen):
            self.fault()


class _Torn(io.FileIO):
    """A file whose struck writes reach the disk by half."""

    striker: Striker

    def write(self, data: Any) -> int:
        half = memoryview(data).cast("B")[: len(data) // 2]
        self.striker("write", lambda: io.FileIO.write(self, half))
        return io.FileIO.write(self, data)


@contextlib.contextmanager
def struck(striker: Striker) -> Iterator[Striker]:
    """Send the block's calls that change the disk through a striker."""

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            striker(_SAME.get(name, name))
            return _REAL[name](*arguments, **named)

        return call

    low, high, exchange, flock = os.open, io.open, durable.exchange, fcntl.flock

    def open_low(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if flags & _CREATES:
            striker("open")
        return low(path, flags, *more, **named)

    def open_high(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **named: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wax+"):
            return high(file, mode, buffering, *text, **named)
        striker("open")
        raw = _Torn(file, mode.replace("b", "").replace("t", ""))
        raw.striker = striker
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, *text, **named)

    def exchanged(*names: Any) -> bool:
        try:
            striker("exchange")
        except OSError:
            return False  # so the system says that it could not
        return exchange(*names)

    def locked(*arguments: Any) -> None:
        striker("flock")
        flock(*arguments)

    with contextlib.ExitStack() as stack:
        for name in _REAL:
            stack.enter_context(patch.object(os, name, counted(name)))
        for owner, name, replacement in (
            (os, "open", open_low),
            (io, "open", open_high),
            (builtins, "open", open_high),
            (durable, "exchange", exchanged),
            (fcntl, "flock", locked),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        yield striker
