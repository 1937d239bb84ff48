"""An operation at work in a folder: it saves version after version, and what a fault has left is looked at."""

import shutil
from pathlib import Path
from statistics import median

from faults.calls import REMOVING, WRITING, Striker, struck
from faults.children import ask, seconds
from faults.operations import Operation
from faults.row import BrokenPromiseError


class Saver:
    """An operation, its folder, and the number of the version that is saved next.

    All work is done in forked children, so that this process stays fit for forking.
    """

    def __init__(self, operation: Operation, folder: Path) -> None:
        self.operation, self.folder, self.next = operation, folder, 1
        folder.mkdir()
        ask(self.save)
        self.next += 1

    @property
    def before(self) -> int | None:
        """The version that a fault must not harm; None where there is nothing before."""
        return None if self.operation.fresh else self.next - 1

    def save(self) -> None:
        """Save the next version in this process."""
        self.operation.save(self.folder, self.next)

    def prepare(self) -> None:
        """Take away what stands in the way of an operation that needs an empty place."""
        if self.operation.fresh:
            shutil.rmtree(self.folder)
            self.folder.mkdir()

    def count(self, names: tuple[str, ...] = WRITING + REMOVING) -> int:
        """Count the calls of one undisturbed saving."""

        def watch() -> int:
            with struck(Striker(names=names)) as striker:
                self.save()
            return len(striker.seen)

        self.prepare()
        calls = int(ask(watch))
        self.next += 1
        return calls

    def duration(self) -> float:
        """Give the seconds of one undisturbed saving: the median of five."""
        times = []
        for _ in range(5):
            self.prepare()
            times.append(ask(lambda: seconds(self.save)))
        self.next += 1
        return median(times)

    def expect(self, *legal: int | None) -> None:
        """Read and verify what is there.

        Raises:
            BrokenPromiseError: it is damaged, or none of the legal versions.
        """
        if (found := ask(lambda: self.operation.read(self.folder))) not in legal:
            raise BrokenPromiseError(f"version {found} is there, expected {' or '.join(map(str, legal))}")

    def start_again(self) -> None:
        """Save a version without a fault, after which nothing is left of what went wrong before.

        Raises:
            BrokenPromiseError: it is not so.
        """
        self.next += 1
        ask(self.save)
        self.expect(self.next)
        self.next += 1
        if strays := self.operation.strays(self.folder):
            raise BrokenPromiseError(f"left over after the next start: {', '.join(strays)}")
