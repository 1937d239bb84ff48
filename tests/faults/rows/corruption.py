"""Damage to every file of a real chain, one at a time: deep verification refuses it and names the file."""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from align_contracts import open_artifact
from align_contracts.errors import MissingError, VerificationError
from faults.chain import make_chain
from faults.children import ask
from faults.row import BrokenPromiseError, Count, Row, sentence, tally

HEAD = 64
"""Bytes at either end of a file that half of the damage goes to: lengths, headers, footers."""
PAGE = 4096


@dataclass(frozen=True)
class Target:
    """A file of an artifact."""

    artifact: Path
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.artifact / self.name

    def __str__(self) -> str:
        return f"{self.artifact.name}/{self.name}"


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Make a chain; flip `tries` bits, cut half as many files, and damage every file in each other way once."""
    chain = ask(lambda: make_chain(scratch / "chain"))
    return damage(chain, tries, random.Random(seed))


def damage(artifacts: list[Path], tries: int, randomness: random.Random) -> Count:
    """Damage files of these artifacts and let deep verification look; each is whole again afterwards.

    Args:
        artifacts: directories that pass deep verification.
        tries: bits to flip; half as many truncations.
        randomness: of which files, bits and lengths. Every file has its turn before one has a second.
    """
    for artifact in artifacts:
        open_artifact(artifact, deep=True)
    files = [Target(one, str(p.relative_to(one))) for one in artifacts for p in sorted(one.rglob("*")) if p.is_file()]
    flips, cuts = list(_dealt(files, tries, randomness)), list(_dealt(files, tries // 2, randomness))
    found = [_refused(one, "a flipped bit", _flipped(randomness)) for one in flips]
    found += [_refused(one, "cut", _cut(randomness)) for one in cuts]
    for what, change in CHANGES.items():
        found += [_refused(one, what, change) for one in files]
    found += [_name_refused(one, what, rename) for one in files for what, rename in NAMES.items()]
    found += [_extra_refused(one, pattern.format(one.path.name)) for one in files for pattern in EXTRA]
    found += [_swap_refused(one, other) for one, other in pairwise(files) if _swappable(one, other)]
    for artifact in artifacts:
        open_artifact(artifact, deep=True)  # whole again, so that it was the damage that was refused
    kinds = {open_artifact(artifact).kind for artifact in artifacts}
    return tally(found, (f"{len(files)} files of {len(artifacts)} artifacts of {len(kinds)} kinds",))


def _dealt(files: list[Target], times: int, randomness: random.Random) -> Iterator[Target]:
    """Deal files like cards: the whole deck before it is shuffled again."""
    while times > 0:
        deck = randomness.sample(files, len(files))
        yield from deck[:times]
        times -= len(deck)


Change = Callable[[bytes], bytes]


def _position(size: int, randomness: random.Random) -> int:
    """Draw a byte: a quarter from the beginning, a quarter from the end, half from anywhere."""
    where = randomness.choice(("head", "tail", "any", "any"))
    near = randomness.randrange(min(HEAD, size))
    return {"head": near, "tail": size - 1 - near, "any": randomness.randrange(size)}[where]


def _flipped(randomness: random.Random) -> Change:
    def change(data: bytes) -> bytes:
        at = _position(len(data), randomness)
        return data[:at] + bytes([data[at] ^ 1 << randomness.randrange(8)]) + data[at + 1 :]

    return change


def _cut(randomness: random.Random) -> Change:
    return lambda data: data[: _position(len(data), randomness)]


def _zeroed(data: bytes) -> bytes:
    """Lose a page, as a file system does that knew the length and not yet the bytes."""
    at = min(len(data) // 2 // PAGE * PAGE, max(0, len(data) - 1))
    return data[:at] + bytes(min(PAGE, len(data) - at)) + data[at + PAGE :]


CHANGES: dict[str, Change] = {
    "a zeroed page": _zeroed,
    "a byte more": lambda data: data + b"\n",
    "a page more": lambda data: data + bytes(PAGE),
    "empty": lambda data: b"",
    "twice": lambda data: data + data,
    "two bytes swapped": lambda data: data[1::-1] + data[2:] if data[0] != data[1] else data[::-1],
    "one byte fewer in front": lambda data: data[1:],
}
NAMES: dict[str, Callable[[Path], Path | None]] = {
    "missing": lambda path: None,
    "in another case": lambda path: path.with_name(path.name.swapcase()),
    "with a tilde": lambda path: path.with_name(path.name + "~"),
    "in a folder of its own": lambda path: path.parent / f"{path.name}.d" / path.name,
}
EXTRA = ("{}.bak", ".{}.swp", "{}.d")
"""Names of what a careless hand or program leaves beside a file; the last one is a folder."""


def _refused(target: Target, what: str, change: Change) -> str | None:
    """Change a file's bytes for a moment."""
    before = target.path.read_bytes()
    times = target.path.stat()
    target.path.write_bytes(change(before))
    os.utime(target.path, ns=(times.st_atime_ns, times.st_mtime_ns))  # damage does not date itself
    try:
        return sentence(f"{target}, {what}", lambda: _expect_refusal(target))
    finally:
        target.path.write_bytes(before)


def _name_refused(target: Target, what: str, rename: Callable[[Path], Path | None]) -> str | None:
    """Remove or rename a file for a moment."""
    with _moved(target.path, rename(target.path)):
        return sentence(f"{target}, {what}", lambda: _expect_refusal(target))


@contextmanager
def _moved(path: Path, to: Path | None) -> Iterator[None]:
    data = path.read_bytes()
    new = to is not None and not to.parent.exists()
    if to is None:
        path.unlink()
    else:
        to.parent.mkdir(exist_ok=True)
        path.rename(to)
    try:
        yield
    finally:
        if to is not None:
            to.unlink()
            if new:
                to.parent.rmdir()
        path.write_bytes(data)


def _extra_refused(target: Target, name: str) -> str | None:
    """Put something beside a file for a moment."""
    extra = target.path.with_name(name)
    if name.endswith(".d"):
        extra.mkdir()
    else:
        extra.write_bytes(b"")
    try:
        return sentence(f"{target}, and {name} beside it", lambda: _expect_refusal(Target(target.artifact, name)))
    finally:
        extra.rmdir() if name.endswith(".d") else extra.unlink()


def _swappable(one: Target, other: Target) -> bool:
    return one.artifact == other.artifact and one.path.read_bytes() != other.path.read_bytes()


def _swap_refused(one: Target, other: Target) -> str | None:
    """Let two files of an artifact have each other's bytes for a moment."""
    first, second = one.path.read_bytes(), other.path.read_bytes()
    one.path.write_bytes(second)
    other.path.write_bytes(first)
    try:
        return sentence(f"{one} and {other.name} swapped", lambda: _expect_refusal(one, other))
    finally:
        one.path.write_bytes(first)
        other.path.write_bytes(second)


def _expect_refusal(*targets: Target) -> None:
    try:
        open_artifact(targets[0].artifact, deep=True)
    except (VerificationError, MissingError) as error:
        said = str(error)
    else:
        raise BrokenPromiseError("deep verification accepts it")
    if not any(target.path.name.casefold() in said.casefold() for target in targets):
        raise BrokenPromiseError(f"the file is not named: {said[:200]}")


ROWS = (Row("corruption", "any damage to any file: refused by deep verification, naming the file", 1000, run),)
