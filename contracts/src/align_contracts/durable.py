"""Durable file operations: sync to the disk, an exclusive lock, and putting a finished directory in place."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import re
import resource
import secrets
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from align_contracts.errors import LockedError, PreflightError

_RENAME_EXCHANGE = 2  # Linux renameat2 and macOS renamex_np (there RENAME_SWAP) use the same number
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
    return _sibling(target, "tmp")


@contextlib.contextmanager
def locked(target: Path) -> Iterator[int]:
    """Hold the exclusive lock of a target; the system frees it when the process ends, however it ends.

    Args:
        target: the directory to be published; its parent exists.

    Yields:
        The lock's file descriptor; a child process that inherits it holds the lock too.

    Raises:
        LockedError: when another writer holds it, saying who.
        PreflightError: when the parent is not writable or knows no locks.
    """
    path = lock_path(target)
    fd = _take(path)
    try:
        yield fd
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def lock_path(target: Path) -> Path:
    """Return the lock file of a target."""
    return target.parent / f".{target.name}.lock"


def lock_holder(target: Path) -> tuple[int, str] | None:
    """Return who took a target's lock last, or None when nothing says so.

    Returns:
        The process's id, and process, host and time in words.
    """
    with contextlib.suppress(OSError):
        text = lock_path(target).read_text(errors="replace")
        if match := re.fullmatch(r"pid (\d+) on \S+ since [\d: UTC-]+\n", text):
            return int(match[1]), text.strip()
    return None


def clean_stale(target: Path) -> None:
    """Remove what dead writers of the same target left, and undo a replacement that died half-way.

    Call it only under the target's lock: no living writer can then own any of it.
    """
    hidden = re.compile(re.escape(f".{target.name}.") + r"(tmp|old)-[0-9a-f]{16}")
    for entry in list(target.parent.iterdir()):
        match = hidden.fullmatch(entry.name)
        if match is None:
            continue
        if match[1] == "old" and not os.path.lexists(target):
            os.rename(entry, target)
            sync(target.parent)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def put_in_place(temp: Path, target: Path) -> None:
    """Give a finished directory its name, replacing what is there in one step where the system can.

    Without an atomic exchange the old directory is renamed away first; a crash between the two renames leaves
    it complete beside the target, and `clean_stale` puts it back. After an error, everything has its old name again.

    Args:
        temp: the finished, synced directory.
        target: its final name, on the same file system.
    """
    if not os.path.lexists(target):
        os.rename(temp, target)
        with _undone(target, temp):
            sync(target.parent)
        return
    if exchange(temp, target):
        try:
            sync(target.parent)
        except BaseException:
            exchange(temp, target)
            raise
        old = temp
    else:
        old = _sibling(target, "old")
        os.rename(target, old)
        with _undone(old, target):
            os.rename(temp, target)
            with _undone(target, temp):
                sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _undone(now: Path, before: Path) -> Iterator[None]:
    """Give a directory its former name if the block fails."""
    try:
        yield
    except BaseException:
        os.rename(now, before)
        raise


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
    """Turn a full, broken or write-protected disk into a `PreflightError` that names the target."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            what = f"{target}: a file would be larger than {_largest()}"
            do = "Raise that limit (ulimit -f), or write to another disk; what was there before is unchanged"
        elif error.errno in {errno.ENOSPC, errno.EDQUOT}:
            what = f"{target}: the disk is full ({shutil.disk_usage(target.parent).free} bytes free after cleaning up)"
            do = "Free some space and run again; what was there before is unchanged"
        elif error.errno in {errno.EIO, errno.EROFS}:
            what = f"{target}: the disk failed ({error.strerror})"
            do = "Look after the disk, or choose another one; what was there before is unchanged"
        else:
            raise
        raise PreflightError(what, do=do) from error


def _largest() -> str:
    """Say how large a file may be: the system answers the same for either reason."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    own = "" if limit == resource.RLIM_INFINITY else f"the {limit} bytes that this process may write, or "
    return f"{own}its file system allows"


def make_directory(path: Path, *, parents: bool = False) -> None:
    """Make a directory.

    Raises:
        PreflightError: when the system refuses, saying why.
    """
    try:
        path.mkdir(parents=parents, exist_ok=parents)
    except OSError as error:
        raise PreflightError(f"{path}: the directory cannot be made ({error.strerror})") from error


def _sibling(target: Path, what: str) -> Path:
    return target.parent / f".{target.name}.{what}-{secrets.token_hex(8)}"


def _take(path: Path) -> int:
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise PreflightError(f"{path}: the lock cannot be made ({error.strerror})") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            holder = lock_holder(path.with_name(path.name.removeprefix(".").removesuffix(".lock")))
            who = f" ({holder[1]})" if holder else ""
            raise LockedError(f"{path}: another process holds this lock{who}", do="Wait for it to end") from error
        except OSError as error:
            os.close(fd)
            raise PreflightError(f"{path}: this file system gives no locks ({error.strerror})") from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                _sign(fd)
                return fd
        os.close(fd)  # its previous holder removed the file between our open and our lock: try again


def _sign(fd: int) -> None:
    """Write into a lock who holds it; a courtesy to whoever waits, so a full disk is no reason to fail."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.write(fd, f"pid {os.getpid()} on {platform.node() or 'localhost'} since {since}\n".encode())


def require_free(target: Path, mark: str, what: str, *, overwrite: bool) -> None:
    """Raise PreflightError where something stands that may not be replaced.

    Args:
        target: the directory to be.
        mark: the file that tells a directory of the same making; no other that holds anything is ever replaced.
        what: such a directory, in a word.
        overwrite: one of the same making may be replaced.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise PreflightError(f"{target} exists and is no {what}", do="Choose another path")
    if (target / mark).exists():
        if not overwrite:
            raise PreflightError(f"{target} exists", do="Choose another path, or replace it with --overwrite")
    elif any(target.iterdir()):
        raise PreflightError(
            f"{target} is a directory with other files in it", do="Choose another path; it is left alone"
        )
