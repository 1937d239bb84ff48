"""SIGKILL while a state is being saved: at random moments, and before every single call that changes the disk."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from align_contracts.durable import clean_stale, locked
from faults.calls import Striker, struck
from faults.children import ChildError, ask, die, kill_during, seconds
from faults.operations import NAME, OPERATIONS, Operation
from faults.row import Count, Row


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Kill `tries` times at random, spread over the operations, then once at every call of each."""
    randomness = random.Random(seed)
    tried, failures = 0, []
    for index, operation in enumerate(OPERATIONS):
        victim = Victim(operation, scratch / str(index))
        share = len(range(index, tries, len(OPERATIONS)))
        found = [victim.kill_at_random(randomness) for _ in range(share)]
        found += [victim.kill_before(call) for call in range(1, victim.calls + 1)]
        tried += len(found)
        failures += [f"{operation.name}: {problem}" for problem in found if problem]
    return Count(tried - len(failures), tried, tuple(failures))


class Victim:
    """An operation, a folder, and the number of the version that is saved next."""

    def __init__(self, operation: Operation, folder: Path) -> None:
        self.operation, self.folder, self.next = operation, folder, 1
        folder.mkdir()
        ask(self.save)
        self.seconds = median(ask(lambda: seconds(self._anew)) for _ in range(5))
        self._clear()
        self.calls = len(ask(lambda: _watched(self.save, Striker()).seen))
        self.next += 1

    def save(self) -> None:
        """Save the next version."""
        self.operation.save(self.folder, self.next)

    def kill_at_random(self, randomness: random.Random) -> str | None:
        """Kill at a moment drawn evenly from the operation's duration; tell what was lost, if anything was."""
        while True:
            delay = randomness.uniform(0, self.seconds)
            self._clear()
            if kill_during(self.save, delay):
                return self._judge(f"killed after {1000 * delay:.2f} of {1000 * self.seconds:.2f} ms")
            self.next += 1

    def kill_before(self, call: int) -> str | None:
        """Kill before a call of this number, in the middle of it where it writes."""
        self._clear()
        if not kill_during(lambda: _watched(self.save, Striker(call, die)), None):
            return f"there is no call {call} to be killed at"
        return self._judge(f"killed at call {call}")

    def _anew(self) -> None:
        self._clear()
        self.save()

    def _clear(self) -> None:
        if self.operation.fresh:
            shutil.rmtree(self.folder)
            self.folder.mkdir()

    def _judge(self, when: str) -> str | None:
        """Read what the kill has left, start again, and look for what is left over."""
        legal = (None if self.operation.fresh else self.next - 1, self.next)
        try:
            if not self.operation.atomic:
                with locked(self.folder / NAME):
                    clean_stale(self.folder / NAME)
            if (found := ask(lambda: self.operation.read(self.folder))) not in legal:
                return f"{when}: version {found} is there, expected {legal[0]} or {legal[1]}"
            self.next += 1
            ask(self.save)
            if (found := ask(lambda: self.operation.read(self.folder))) != self.next:
                return f"{when}: the next start saved version {self.next}, and {found} is there"
        except ChildError as error:
            return f"{when}: {error.last}"
        finally:
            self.next += 1
        if strays := self.operation.strays(self.folder):
            return f"{when}: left over after the next start: {', '.join(strays)}"
        return None


def _watched(work: Callable[[], Any], striker: Striker) -> Striker:
    with struck(striker):
        work()
    return striker


ROWS = (Row("saving", "killed while saving: the old or the new state loads, nothing is left over", 200, run),)
