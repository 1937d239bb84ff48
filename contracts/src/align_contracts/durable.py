"""Durable file operations: sync to the disk, an exclusive lock, and swapping a finished directory into place."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from align_contracts.errors import LockedError, PreflightError

_RENAME_EXCHANGE = 2  # Linux renameat2 and macOS renamex_np (RENAME_SWAP) use the same number
_AT_FDCWD = -100


def sync(path: Path) -> None:
    """Force a file or directory to the disk; on macOS through the drive's own cache (F_FULLFSYNC)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        full = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:
            with contextlib.suppress(OSError):  # some file systems do not know it
                fcntl.fcntl(fd, full)
                return
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(root: Path) -> None:
    """Force every file and directory below a root, and the root itself, to the disk."""
    for folder, _, files in os.walk(root, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))


def temp_path(target: Path) -> Path:
    """Return a new hidden sibling of a target for the unfinished directory."""
    return target.parent / f".{target.name}.tmp-{secrets.token_hex(8)}"


@contextlib.contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the exclusive lock of a target; the operating system frees it when the process ends, however it ends.

    Args:
        target: the directory to be published; its parent exists.

    Raises:
        LockedError: when another writer holds it.
    """
    path = target.parent / f".{target.name}.lock"
    fd = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def clean_stale(target: Path) -> None:
    """Remove what dead writers of the same target left, and finish a replacement that died half-way.

    Call it only under the target's lock: no living writer can then own any of it.
    """
    kind = re.compile(re.escape(f".{target.name}.") + r"(tmp|old)-[0-9a-f]{16}")
    leftovers = [entry for entry in target.parent.iterdir() if kind.fullmatch(entry.name)]
    for entry in leftovers:
        if f"{target.name}.old-" in entry.name and not target.exists():
            os.rename(entry, target)
            sync(target.parent)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def put_in_place(temp: Path, target: Path) -> None:
    """Give a finished directory its name, replacing what is there in one step where the system can.

    Without an atomic exchange the old directory is renamed away first; a crash between the two renames leaves it
    complete beside the target, and `clean_stale` puts it back.

    Args:
        temp: the finished, synced directory.
        target: its final name, on the same file system.
    """
    if not target.exists():
        os.rename(temp, target)
        sync(target.parent)
        return
    if exchange(temp, target):
        old = temp
    else:
        old = target.parent / f".{target.name}.old-{secrets.token_hex(8)}"
        os.rename(target, old)
        os.rename(temp, target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Swap the names of two directories in one step.

    Returns:
        False when the system or the file system cannot; nothing has changed then.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    one, two = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            done = libc.renamex_np(one, two, _RENAME_EXCHANGE)
        else:
            done = libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, two, _RENAME_EXCHANGE)
    except AttributeError:
        return False
    return bool(done == 0)


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk or exhausted quota into a `PreflightError` that names the target."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        free = shutil.disk_usage(target.parent).free
        raise PreflightError(
            f"{target}: the disk is full while publishing",
            got=f"{free} bytes free",
            do="Free some space and run again; what was there before is unchanged.",
        ) from error


def _take(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise LockedError(
                f"{path}: another process is publishing this artifact", do="Wait for it to end."
            ) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)  # the file was removed by the previous holder between our open and our lock
