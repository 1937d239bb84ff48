"""Where a console script writes to may go away: a terminal is closed, a `tee` ends, a service starts it with nothing.

What is said on standard error is a courtesy, and never a reason for work of hours to fail.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

__all__ = ["Lasting", "secure"]


class Lasting:
    """A text stream whose reader may leave: what cannot be written any more is dropped.

    Args:
        stream: what it stands for, in everything else.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, if somebody is there to read it."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def secure(*, stdout: bool = False) -> None:
    """Open the standard streams that are closed, so that no file of ours gets their numbers, and let stderr last.

    Args:
        stdout: let standard output last too, where it is only told what is being done.
    """
    _reserve()
    for name, lasts in (("stdout", stdout), ("stderr", True)):
        first, now = getattr(sys, f"__{name}__"), getattr(sys, name)
        if now is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
        elif lasts and now is first:
            setattr(sys, name, Lasting(now))


def _reserve() -> None:
    """Give the descriptors 0 to 2 to the null device where nothing has them: the system hands out the lowest first."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
