"""A disk that fails at every call in turn, and disks that are really full while a state is being saved."""

import errno
import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from align_contracts.errors import AlignError, PreflightError
from faults.calls import WRITING, Striker, struck
from faults.children import ask
from faults.full_disk import filled, mount_small, short_files
from faults.operations import PUBLISHING
from faults.row import BrokenPromiseError, Count, Row, sentence, tally
from faults.saver import Saver
from faults.training import CHECKPOINT

OPERATIONS = (*PUBLISHING, CHECKPOINT)
SPACE = ("open", "write", "fsync", "mkdir")
"""What a disk that stays full goes on refusing."""
ERRORS = ((errno.ENOSPC, SPACE), (errno.EDQUOT, ()), (errno.EIO, ()))
"""What strikes, and what it goes on refusing."""
ROOM = 4 * 2**20
"""Bytes of the small file system: several versions of any state."""
Disk = Callable[[], AbstractContextManager[object]]


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Strike every call of each operation with each error, then run out of space `tries` times for real."""
    found: list[str | None] = []
    for index, operation in enumerate(OPERATIONS):
        found += _strike_all(Saver(operation, scratch / str(index)))
    small = scratch / "small"
    small.mkdir()
    way, really = ask(lambda: _run_out(small, tries, random.Random(seed)))  # a mount of that child alone
    return tally(found + really, (f"{len(really)} of them on {way}",))


def _strike_all(saver: Saver) -> list[str | None]:
    found: list[str | None] = []
    calls = saver.count(WRITING)
    for number, lasting in ERRORS:
        for call in range(1, calls + 1):
            what = f"{saver.operation.name}: {errno.errorcode[number]} at call {call}"
            striker = Striker(call, _raiser(number), WRITING, lasting)
            found.append(sentence(what, lambda striker=striker: _survive(saver, lambda: struck(striker))))
    return found


def _raiser(number: int) -> Callable[[], None]:
    def fault() -> None:
        raise OSError(number, os.strerror(number))

    return fault


def _run_out(small: Path, tries: int, randomness: random.Random) -> tuple[str, list[str | None]]:
    """Run out of real space at random sizes; say in which way."""
    mounted = mount_small(small, ROOM)
    savers = [Saver(operation, small / str(index)) for index, operation in enumerate(OPERATIONS)]
    found = [_out_of_space(savers[index % len(savers)], small, mounted, randomness) for index in range(tries)]
    return "a full file system in memory" if mounted else "files that may not grow (RLIMIT_FSIZE)", found


def _out_of_space(saver: Saver, small: Path, mounted: bool, randomness: random.Random) -> str | None:
    """Save with less space left than the largest file of a version needs."""
    left = randomness.randrange(max(path.stat().st_size for path in saver.folder.rglob("*") if path.is_file()))
    disk = (lambda: filled(small, left)) if mounted else (lambda: short_files(left))
    return sentence(f"{saver.operation.name}: {left} bytes left", lambda: _survive(saver, disk, must_fail=True))


def _survive(saver: Saver, disk: Disk, must_fail: bool = False) -> None:
    """Save on a failing disk, look at what is there, and save again on a good one."""
    saver.prepare()
    code, text = ask(lambda: _said(saver, disk))
    if code not in (0, PreflightError.exit_code) or "\n" in text or (must_fail and not code):
        raise BrokenPromiseError(f"exit code {code} and the message {text!r}")
    legal = {saver.before if code else saver.next} | ({saver.next} if saver.operation.ahead else set())
    saver.expect(*legal)
    saver.start_again()


def _said(saver: Saver, disk: Disk) -> tuple[int, str]:
    """Save the next version; give the exit code and message that a user would get."""
    with disk():
        try:
            saver.save()
        except AlignError as error:
            return error.exit_code, str(error)
    return 0, ""


ROWS = (Row("disk", "full or broken at any write: what was there is intact, exit code 6", 60, run),)
