"""Safe relative paths inside an artifact, and opening files without leaving its root."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from align_contracts.errors import VerificationError

MANIFEST = "manifest.json"
SIDECAR = "manifest.sha256"
MAX_FILES = 10_000
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255

CODE_SUFFIXES = frozenset(
    [
        ".py",
        ".pyc",
        ".pyd",
        ".pyo",
        ".pyw",
        ".pyx",
        ".ipynb",
        ".so",
        ".dylib",
        ".dll",
        ".exe",
        ".sh",
        ".bat",
        ".ps1",
        ".js",
        ".jar",
        ".class",
        ".wasm",
        ".pkl",
        ".pickle",
        ".pck",
        ".pt",
        ".pth",
        ".ckpt",
        ".bin",
        ".joblib",
        ".dill",
        ".npy",
        ".npz",
        ".mat",
        ".h5",
        ".keras",
        ".msgpack",
        ".zip",
        ".tar",
        ".gz",
    ]
)
"""Suffixes that carry code, pickles or archives of them; an artifact holds none."""


def check_relative(path: str) -> str:
    """Check one listed path: relative, POSIX, NFC, inside the root, no code and no pickle.

    Args:
        path: the path as the manifest lists it.

    Returns:
        The same path.

    Raises:
        VerificationError: saying what is wrong with it.
    """
    shown = repr(path)
    problem = None
    parts = path.split("/")
    if not path:
        problem = "is empty"
    elif path.startswith("/"):
        problem = "is absolute"
    elif "\\" in path:
        problem = "holds a backslash"
    elif any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn"} for char in path):
        problem = "holds a control or unassigned character"
    elif any(part in {"", ".", ".."} for part in parts):
        problem = "holds an empty, '.' or '..' part"
    elif any(part != part.strip() or part.endswith(".") for part in parts):
        problem = "has a part that begins or ends with a space, or ends with a dot"
    elif ":" in path:
        problem = "holds a colon"
    elif unicodedata.normalize("NFC", path) != path:
        problem = "is not in Unicode form NFC"
    elif len(path.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        problem = "is too long"
    elif fold(path) in {MANIFEST, SIDECAR}:
        problem = "is reserved"
    elif os.path.splitext(parts[-1])[1].casefold() in CODE_SUFFIXES:
        problem = "may hold code or a pickle"
    if problem:
        raise VerificationError(
            f"unsafe path {shown}: it {problem}", do="Artifacts hold plain relative data files only."
        )
    return path


def fold(path: str) -> str:
    """Return the form under which two paths collide on a file system that ignores case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def check_collisions(paths: Iterable[str]) -> None:
    """Refuse two paths that differ only in case or Unicode form, or where one is the other's directory.

    Args:
        paths: safe relative paths, duplicates included.

    Raises:
        VerificationError: naming both paths.
    """
    files: dict[str, str] = {}
    for path in paths:
        if (other := files.get(fold(path))) is not None:
            raise VerificationError(f"the paths {other!r} and {path!r} collide")
        files[fold(path)] = path
    spelled: dict[str, str] = {}
    for path in files.values():
        parts = path.split("/")
        for i in range(1, len(parts)):
            parent = "/".join(parts[:i])
            if (other := files.get(fold(parent))) is not None:
                raise VerificationError(f"the paths {other!r} and {path!r} collide")
            if (other := spelled.setdefault(fold(parent), parent)) != parent:
                raise VerificationError(f"the directories {other!r} and {parent!r} collide")


def list_tree(root: Path) -> dict[str, os.stat_result]:
    """List every file below a directory without following links.

    Args:
        root: an existing directory.

    Returns:
        {relative POSIX path: lstat}, regular files only.

    Raises:
        VerificationError: for a link, FIFO, socket or device, a file with a second name outside the tree, a name that
            is not UTF-8, or too many files.
    """
    found: dict[str, os.stat_result] = {}
    pending = [""]
    seen = 0
    while pending:
        prefix = pending.pop()
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                seen += 1
                if seen > 2 * MAX_FILES:
                    raise VerificationError(f"{root.name}: too many files", expected=f"at most {MAX_FILES}")
                path = prefix + entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    pending.append(path + "/")
                elif stat.S_ISREG(info.st_mode):
                    found[path] = info
                else:
                    raise VerificationError(
                        f"{path!r}: expected a regular file, got {_type_name(info.st_mode)}"
                    )
    _check_hardlinks(found)
    return found


def open_inside(root: Path, path: str) -> BinaryIO:
    """Open a regular file below a root for reading; no step of the way may be a link.

    Args:
        root: the artifact's directory.
        path: a safe relative path (see `check_relative`).

    Returns:
        The open file, to be closed by the caller.

    Raises:
        VerificationError: when the file is missing, not regular or reached through a link.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    parts = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        file = os.open(parts[-1], flags, dir_fd=here)
    except OSError as error:
        raise VerificationError(f"{path}: cannot be opened ({error.strerror})") from error
    finally:
        os.close(here)
    if not stat.S_ISREG(mode := os.fstat(file).st_mode):
        os.close(file)
        raise VerificationError(f"{path}: expected a regular file, got {_type_name(mode)}")
    return os.fdopen(file, "rb")


def _check_hardlinks(found: dict[str, os.stat_result]) -> None:
    inside: dict[tuple[int, int], int] = {}
    for info in found.values():
        key = (info.st_dev, info.st_ino)
        inside[key] = inside.get(key, 0) + 1
    for path, info in found.items():
        if info.st_nlink > inside[(info.st_dev, info.st_ino)]:
            raise VerificationError(
                f"{path!r}: the file has a second name (hard link) outside the artifact",
                do="Copy it instead of linking it.",
            )


def _type_name(mode: int) -> str:
    names = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "something else")
