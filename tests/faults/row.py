"""A row of the campaign: a promise, how often it is put to the test, and what came of it."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Count:
    """What came of a row.

    Attributes:
        survived: tries after which everything promised was verified.
        tried: tries made.
        failures: a sentence for each try that did not survive.
        notes: how it was done, where that depends on the machine.
    """

    survived: int
    tried: int
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class BrokenPromiseError(Exception):
    """A promise that did not hold; the message says how."""


def sentence(what: str, work: Callable[[], object]) -> str | None:
    """Do the work of one try; give a sentence that begins with `what` if it breaks a promise."""
    try:
        work()
    except BrokenPromiseError as error:
        return f"{what}: {error}"
    return None


def tally(sentences: Iterable[str | None], notes: tuple[str, ...] = ()) -> Count:
    """Count tries by their sentences; None is for one that survived."""
    found = list(sentences)
    failures = tuple(problem for problem in found if problem)
    return Count(len(found) - len(failures), len(found), failures, notes)


@dataclass(frozen=True)
class Row:
    """A promise and the experiment that tests it.

    Attributes:
        name: one word, unique in the campaign.
        promise: what holds after every fault, in a few words.
        tries: the figure promised; fewer are not a pass.
        run: (scratch directory, tries, seed) → what came of it. All randomness comes from the seed. A row with a
            systematic part may try more often than asked.
    """

    name: str
    promise: str
    tries: int
    run: Callable[[Path, int, int], Count]


def discover(package: ModuleType) -> dict[str, tuple[str, Row]]:
    """Find the rows of all modules of a package.

    Returns:
        The module's name and the row, by the row's name.

    Raises:
        ValueError: two rows have one name, or a module has none.
    """
    rows: dict[str, tuple[str, Row]] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if info.name.startswith("test_"):
            continue
        module = f"{package.__name__}.{info.name}"
        found: tuple[Row, ...] = getattr(importlib.import_module(module), "ROWS", ())
        if not found:
            raise ValueError(f"{module} has no ROWS")
        for row in found:
            if row.name in rows:
                raise ValueError(f"two rows are called {row.name}: in {rows[row.name][0]} and {module}")
            rows[row.name] = (module, row)
    return rows
