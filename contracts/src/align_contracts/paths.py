"""Safe relative paths inside an artifact, and reading files without leaving its root."""

from __future__ import annotations

import contextlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from align_contracts.errors import VerificationError

MANIFEST = "manifest.json"
SIDECAR = "manifest.sha256"
MAX_FILES = 10_000
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_CODE = "py pyc pyd pyo pyw pyx ipynb so dylib dll exe sh bat ps1 js jar class wasm"
_PICKLE = "pkl pickle pck pt pth ckpt bin joblib dill npy npz mat h5 hdf5 keras msgpack"
_ARCHIVE = "zip tar gz tgz bz2 xz zst 7z whl egg"
FORBIDDEN_SUFFIXES = frozenset(f".{suffix}" for suffix in f"{_CODE} {_PICKLE} {_ARCHIVE}".split())
"""Suffixes of code, of formats that may hold a pickle, and of archives; an artifact has none of them."""


@dataclass(frozen=True)
class Tree:
    """What lies below a directory.

    Attributes:
        files: {relative POSIX path: lstat} of the regular files.
        folders: relative POSIX paths of the directories.
    """

    files: dict[str, os.stat_result]
    folders: frozenset[str]


def printable(text: str) -> str:
    """Return text that is safe to print: control characters and lone surrogates are shown as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def check_relative(path: str) -> str:
    """Check one listed path: relative, POSIX, NFC, inside the root, no code and no pickle.

    Args:
        path: the path as the manifest lists it.

    Returns:
        The same path.

    Raises:
        VerificationError: saying what is wrong with it.
    """
    if problem := _path_problem(path):
        raise VerificationError(
            f"unsafe path {path[:200]!a}: it {problem}",
            do="An artifact holds plain data files under relative paths only",
        )
    return path


def _path_problem(path: str) -> str | None:
    parts = path.split("/")
    suffix = os.path.splitext(parts[-1])[1].casefold()
    problems = {
        "is empty": not path,
        "is absolute": path.startswith("/"),
        "holds a backslash or a colon": "\\" in path or ":" in path,
        "holds a control or unassigned character": not all(map(_is_text, path)),
        "holds an empty, '.' or '..' part": any(part in {"", ".", ".."} for part in parts),
        "has a part with a space at an end or a dot at its end": any(
            part != part.strip() or part.endswith(".") for part in parts
        ),
        "is not in Unicode form NFC": unicodedata.normalize("NFC", path) != path,
        "is too long": _bytes(path) > MAX_PATH_BYTES or max(map(_bytes, parts)) > MAX_NAME_BYTES,
        "is reserved": fold(path) in {MANIFEST, SIDECAR},
        f"may hold code, a pickle or an archive ({suffix})": suffix in FORBIDDEN_SUFFIXES,
    }
    return next((problem for problem, found in problems.items() if found), None)


def fold(path: str) -> str:
    """Return the form in which two paths collide on a file system that ignores case and Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def parents(path: str) -> list[str]:
    """Return the directories above a relative path, outermost first, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def check_collisions(paths: Iterable[str]) -> None:
    """Refuse two paths that differ only in case or Unicode form, or where one is the other's directory.

    Args:
        paths: safe relative paths; a repeated one collides with itself.

    Raises:
        VerificationError: naming both.
    """
    files: dict[str, str] = {}
    for path in paths:
        if (key := fold(path)) in files:
            raise VerificationError(f"the paths {files[key]!r} and {path!r} collide")
        files[key] = path
    folders: dict[str, str] = {}
    for path in files.values():
        for folder in parents(path):
            if (key := fold(folder)) in files:
                raise VerificationError(f"the paths {files[key]!r} and {path!r} collide")
            if (other := folders.setdefault(key, folder)) != folder:
                raise VerificationError(f"the directories {other!r} and {folder!r} collide")


def list_tree(root: Path) -> Tree:
    """List everything below a directory without following links, even one that is put there meanwhile.

    Args:
        root: an existing directory.

    Raises:
        VerificationError: for a link, FIFO, socket or device, a file with a second name outside the tree, a
            name that is not UTF-8, too long a path, or too many entries.
    """
    files: dict[str, os.stat_result] = {}
    folders: set[str] = set()
    pending = [""]
    while pending:
        prefix = pending.pop()
        with _folder(root, prefix.split("/")[:-1], f"{root.name}/{prefix}") as folder, os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    folders.add(path)
                    pending.append(path + "/")
                elif stat.S_ISREG(info.st_mode):
                    files[path] = info
                else:
                    what = f"{root.name}/{printable(path)}"
                    raise VerificationError(what, expected="a regular file", got=_type_name(info.st_mode))
                if _bytes(path) > MAX_PATH_BYTES:
                    raise VerificationError(f"{root.name}/{printable(path[:80])}…: its path is too long")
                if len(files) + len(folders) > 2 * MAX_FILES:
                    raise VerificationError(f"{root.name}: too many files", expected=f"at most {MAX_FILES}")
    _check_names(root.name, files)
    return Tree(files, frozenset(folders))


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
    where = f"{root.name}/{path}"
    *folders, name = path.split("/")
    with _folder(root, folders, where) as folder:
        try:
            file = os.open(name, _FLAGS, dir_fd=folder)
        except OSError as error:
            raise VerificationError(f"{where}: cannot be opened ({error.strerror})") from error
    if not stat.S_ISREG(mode := os.fstat(file).st_mode):
        os.close(file)
        raise VerificationError(where, expected="a regular file", got=_type_name(mode))
    return os.fdopen(file, "rb")


@contextlib.contextmanager
def _folder(root: Path, folders: Sequence[str], where: str) -> Iterator[int]:
    """Open a directory below a root, step by step, so that no step can be a link; yield its descriptor."""
    here = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for folder in folders:
            try:
                below = os.open(folder, _FLAGS | os.O_DIRECTORY, dir_fd=here)
            except OSError as error:
                raise VerificationError(f"{where}: cannot be opened ({error.strerror})") from error
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _check_names(name: str, files: dict[str, os.stat_result]) -> None:
    """Refuse names that are not UTF-8 and files that have another name outside the tree."""
    inside: dict[tuple[int, int], int] = {}
    for path, info in files.items():
        if any("\ud800" <= char <= "\udfff" for char in path):
            raise VerificationError(f"{name}/{printable(path)}: its name is not UTF-8")
        key = (info.st_dev, info.st_ino)
        inside[key] = inside.get(key, 0) + 1
    for path, info in files.items():
        if info.st_nlink > inside[info.st_dev, info.st_ino]:
            raise VerificationError(
                f"{name}/{printable(path)}: it has a second name (hard link) outside the artifact",
                do="Copy the file instead of linking it",
            )


def _is_text(char: str) -> bool:
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


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
