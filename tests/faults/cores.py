"""A few tries of the rows that fork, as functions for a fresh process: one that has computed with MLX must not fork."""

import random
from pathlib import Path

from faults.calls import WRITING, Striker, struck
from faults.children import ChildError, ask
from faults.operations import NAME, PUBLISHING
from faults.row import sentence
from faults.rows import disk, saving, writers
from faults.saver import Saver
from faults.training import CHECKPOINT, train_until, trained_until

OPERATIONS = (*PUBLISHING, CHECKPOINT)


def killed(folder: Path, index: int, tries: int = 3) -> list[str | None]:
    """Kill an operation at some of its calls."""
    saver = Saver(OPERATIONS[index], folder / "states")
    calls = random.Random(index).sample(range(1, saver.count() + 1), tries)
    return [saving._kill_at_call(saver, call) for call in calls]


def failed(folder: Path, index: int) -> list[str | None]:
    """Let a disk fail in each way at one of an operation's calls."""
    saver, found = Saver(OPERATIONS[index], folder / "states"), []
    for number, lasting in disk.ERRORS:
        call = random.Random(number).randint(1, saver.count(WRITING))
        striker = Striker(call, disk._raiser(number), WRITING, lasting)
        found.append(sentence("", lambda striker=striker: disk._survive(saver, lambda: struck(striker))))
    return found


def full(folder: Path) -> list[str | None]:
    """Run out of real space once with every operation."""
    return ask(lambda: disk._run_out(folder, len(OPERATIONS), random.Random(1)))[1]


def raced(folder: Path) -> list[str | None]:
    """Let writers race for artifacts and for a run, and let a holder of a lock die."""
    found = writers._race(folder / "publish", 2, 1, writers._publish)
    found += writers._race(folder / "train", 1, 1, writers._train)
    return [*found, sentence("", lambda: writers._outlive(folder / "dead"))]


def damaged_checkpoint(folder: Path) -> tuple[int, str]:
    """Cut a file of the newest checkpoint; give the iteration read before, and what is said afterwards."""
    ask(lambda: train_until(folder, 2))
    before = ask(lambda: trained_until(folder))
    params = folder / f".{NAME}.run/checkpoints/000002/params.safetensors"
    params.write_bytes(params.read_bytes()[:-1])
    try:
        return before, str(ask(lambda: trained_until(folder)))
    except ChildError as error:
        return before, str(error)
