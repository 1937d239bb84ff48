"""SIGKILL while a state is being saved: at random moments, and before every single call that changes the disk."""

import random
from pathlib import Path

from faults.calls import Striker, struck
from faults.children import die, kill_during
from faults.operations import PUBLISHING
from faults.row import BrokenPromiseError, Count, Row, sentence, tally
from faults.saver import Saver
from faults.training import CHECKPOINT

OPERATIONS = (*PUBLISHING, CHECKPOINT)


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Kill `tries` times at random, spread over the operations, then once at every call of each."""
    randomness = random.Random(seed)
    found: list[str | None] = []
    for index, operation in enumerate(OPERATIONS):
        saver = Saver(operation, scratch / str(index))
        duration = saver.duration()
        found += [_kill_at_random(saver, duration, randomness) for _ in range(index, tries, len(OPERATIONS))]
        found += [_kill_at_call(saver, call) for call in range(1, saver.count() + 1)]
    return tally(found)


def _kill_at_random(saver: Saver, duration: float, randomness: random.Random) -> str | None:
    """Kill at a moment drawn evenly from the operation's duration; one that came too late is drawn again."""
    while True:
        delay = randomness.uniform(0, duration)
        saver.prepare()
        if kill_during(saver.save, delay):
            what = f"{saver.operation.name}, killed after {1000 * delay:.2f} of {1000 * duration:.2f} ms"
            return sentence(what, lambda: _judge(saver))
        saver.next += 1


def _kill_at_call(saver: Saver, call: int) -> str | None:
    """Kill before a call of this number; in the middle of it where it writes."""

    def save() -> None:
        with struck(Striker(call, die)):
            saver.save()

    def judge() -> None:
        saver.prepare()
        if not kill_during(save, None):
            raise BrokenPromiseError("there is no such call")
        _judge(saver)

    return sentence(f"{saver.operation.name}, killed at call {call}", judge)


def _judge(saver: Saver) -> None:
    """The old or the new version is there, whole, and the next start leaves no trace of the kill."""
    saver.operation.recover(saver.folder)
    saver.expect(saver.before, saver.next)
    saver.start_again()


ROWS = (Row("saving", "killed while saving: the old or the new state loads, nothing is left over", 200, run),)
