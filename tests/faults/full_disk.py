"""A disk that is really full: a small file system of this process alone, or a limit on the size of files."""

import contextlib
import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # flags of unshare(2)
_PRIVATE = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE: nothing of ours is seen outside


def mount_small(folder: Path, size: int) -> bool:
    """Give this process, and nobody else, a file system of `size` bytes at `folder`; it is gone with the process.

    Returns:
        Whether the system allowed it: on Linux, to root or where users have name spaces.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) != 0 and libc.unshare(_NEW_USER | _NEW_MOUNTS) != 0:
        return False
    if libc.mount(b"none", b"/", None, _PRIVATE, None) != 0:
        return False
    return bool(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) == 0)


@contextlib.contextmanager
def filled(folder: Path, left: int) -> Iterator[None]:
    """Leave only so many bytes on a file system, and free them again afterwards."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        state = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_frsize - left))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def short_files(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
