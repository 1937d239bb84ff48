"""Proof that nothing outside was opened: the kernel's word (inotify) for the treasure, Python's for any other path."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_OPENED = 0x20  # IN_OPEN
_NONBLOCK = 0o4000
_allowed: list[str] = []
_opened: list[str] = []
_hooked: list[bool] = []


@contextmanager
def watched(root: Path, outside: Path) -> Iterator[list[str]]:
    """Give a list that holds, after the block, what was opened outside of `root`: nothing, it is hoped.

    Args:
        root: the directory that may be opened.
        outside: a folder whose files and itself are watched by the kernel (Linux), whoever opens them.
    """
    if not _hooked:
        sys.addaudithook(_hear)
        _hooked.append(True)
    found: list[str] = []
    with _kernel(outside) as read_events:
        _opened.clear()
        _allowed[:] = [str(root), "/dev/fd/"]
        try:
            yield found
        finally:
            _allowed.clear()
            found += _opened + read_events()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Note absolute paths that are opened; relative ones are opened below a descriptor, and inotify sees those."""
    if event == "open" and _allowed and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.fsdecode(arguments[0])
        if path.startswith("/") and not path.startswith(tuple(_allowed)):
            _opened.append(path)


@contextmanager
def _kernel(outside: Path) -> Iterator[Any]:
    if sys.platform != "linux":
        yield list
        return
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(_NONBLOCK)
    try:
        for path in (outside, *outside.iterdir()):
            if not path.is_symlink() and libc.inotify_add_watch(watch, os.fsencode(path), _OPENED) < 0:
                raise OSError(ctypes.get_errno(), f"inotify on {path}")

        def read() -> list[str]:
            try:
                return [f"{len(os.read(watch, 65536)) // 16} events below {outside.name}/"]
            except BlockingIOError:
                return []

        yield read
    finally:
        os.close(watch)
