"""Training runs interrupted at random, again and again, and continued: the result is that of the undisturbed run."""

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx

import align_rl.loop
import align_sft.pretrain
from align_contracts import signals
from align_contracts.errors import InterruptedRun
from align_mlx import steps as stepping
from align_mlx.rollout import Draw
from align_mlx.train_state import TrainState
from faults.children import ChildError, ask
from faults.row import Count, Row
from faults.stages import STAGES, Stage, finish, make_store

GRACE = 30.0
"""Seconds that a run may take to stop after SIGINT or SIGTERM."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOST = 3
"""Interruptions of one run."""


@dataclass
class Course:
    """A stage and its undisturbed run.

    Attributes:
        stage: the stage.
        folder: where runs publish; the store is in it.
        expected: what the undisturbed run made (`faults.stages.finish`).
        calls: how often it looked for a signal: at every micro-batch, decoding step, scoring pass and evaluation.
        seconds: how long it took.
    """

    stage: Stage
    folder: Path
    expected: dict[str, str]
    calls: int
    seconds: float

    @classmethod
    def of(cls, stage: Stage, folder: Path) -> "Course":
        """Run a stage undisturbed."""

        def undisturbed() -> tuple[dict[str, str], int, float]:
            began = time.perf_counter()
            with looks() as seen:
                made = finish(stage, folder / "store", folder / f"{stage.name}-plain")
            return made, len(seen), time.perf_counter() - began

        return cls(stage, folder, *ask(undisturbed))

    def finish(self, out: Path) -> dict[str, str]:
        """Run it, or go on with it, to the end."""
        return finish(self.stage, self.folder / "store", out, overwrite=True)


@contextmanager
def looks(at: int = 0, act: Callable[[], Any] = lambda: None) -> Iterator[list[None]]:
    """Count how often long work looks for a signal, and do something when it looks for the time `at` (from 1)."""
    seen: list[None] = []
    check = signals.check

    def counted() -> None:
        seen.append(None)
        if len(seen) == at:
            act()
        check()

    with patch.object(signals, "check", counted):
        yield seen


def interrupt(course: Course, out: Path, number: signal.Signals, call: int, delay: float) -> dict[str, str] | None:
    """Start a run in a child, or go on with it, and interrupt it; None unless it ended before, then what it made.

    Args:
        course: what to run.
        out: its artifact.
        number: the signal.
        call: at which of its looks for a signal the run is struck; 0: never.
        delay: otherwise, seconds after its start.

    Raises:
        ChildError: it ended in another way than by the signal, or too late.
    """
    if (child := os.fork()) == 0:
        _be_interrupted(course, out, number, call)
    began = time.monotonic()
    if not call:
        time.sleep(delay)
        began = time.monotonic()
        os.kill(child, number)
    _, status = os.waitpid(child, 0)
    code, took = os.waitstatus_to_exitcode(status), time.monotonic() - began
    if code == 0:
        return dict(json.loads(_made(out).read_text()))
    if code not in (-number, 128 + number):
        raise ChildError(f"a run ended with exit status {code} after {number.name}")
    if not call and took > GRACE:
        raise ChildError(f"a run took {took:.0f} s to stop after {number.name}")
    return None


def _be_interrupted(course: Course, out: Path, number: signal.Signals, call: int) -> None:
    code = 1
    try:
        with looks(call, lambda: os.kill(os.getpid(), number)):
            _made(out).write_text(json.dumps(course.finish(out)))
        code = 0
    except InterruptedRun as error:
        code = error.exit_code
    except KeyboardInterrupt:  # before the run began to listen
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _made(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def survive(course: Course, out: Path, randomness: random.Random) -> list[str]:
    """Interrupt a run one to three times and continue it; tell what it made otherwise than the undisturbed one."""
    wanted, story = randomness.randint(1, MOST), list[str]()
    made = None
    try:
        while len(story) < wanted and made is None:
            number = randomness.choice(SIGNALS)
            call = randomness.choice((0, randomness.randint(1, course.calls)))
            delay = randomness.uniform(0, course.seconds)
            made = interrupt(course, out, number, call, delay)
            if made is None:
                story.append(f"{number.name} at {f'look {call}' if call else f'{delay:.2f} s'}")
            elif not story:  # it was faster: once more
                shutil.rmtree(out)
                made = None
        made = made or ask(lambda: course.finish(out))
    except ChildError as error:
        return [f"{error} ({', '.join(story)})"]
    return [f"{part} differs ({', '.join(story)})" for part, sha in course.expected.items() if made[part] != sha]


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Interrupt runs of the five trainings in turn."""
    ask(lambda: make_store(scratch / "store"))
    courses = [Course.of(stage, scratch) for stage in STAGES[:tries]]
    randomness, failures = random.Random(seed), []
    for number in range(tries):
        course = courses[number % len(courses)]
        found = survive(course, scratch / f"{course.stage.name}-{number}", randomness)
        if found:
            failures.append(f"{course.stage.name}, try {number}: {'; '.join(found)}")
    return Count(tries - len(failures), tries, tuple(failures))


# Negative controls: what a resume must restore, left out on purpose.


def no_moments(state: TrainState, folder: Path) -> None:
    """Forget the optimizer's moments."""
    _restore(state, folder)
    state.optimizer.state = TrainState.start(state.params).optimizer.state


def one_on(state: TrainState, folder: Path) -> None:
    """Count one iteration too many."""
    _restore(state, folder)
    state.iteration += 1


_restore, _rows_of, _batches = TrainState.restore, stepping.rows_of, align_sft.pretrain.batches


@contextmanager
def another_key() -> Iterator[None]:
    """Draw rows and answers with another random key."""
    rows = patch.object(stepping, "rows_of", lambda step, count, size, seed: _rows_of(step, count, size, seed + 1))
    lines = patch.object(
        align_sft.pretrain, "batches", lambda lines, size, key: _batches(lines, size, mx.random.key(9))
    )
    with rows, lines, patch.object(align_rl.loop, "Draw", lambda seed, iteration=0: Draw(seed + 1, iteration)):
        yield


CONTROLS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "without moments": lambda: patch.object(TrainState, "restore", no_moments),
    "with another random key": another_key,
    "with another count": lambda: patch.object(TrainState, "restore", one_on),
}


def control(scratch: Path, tries: int, seed: int) -> Count:
    """Interrupt runs half-way and restore them wrongly, 15 ways in turn: the comparison must see it."""
    ask(lambda: make_store(scratch / "store"))
    courses, failures = {stage.name: Course.of(stage, scratch) for stage in STAGES[:tries]}, []
    for number in range(tries):  # 5 trainings and 3 ways: 15 turns meet every pair
        course, name = courses[STAGES[number % len(STAGES)].name], list(CONTROLS)[number % len(CONTROLS)]
        out = scratch / f"{course.stage.name}-{number}"
        if interrupt(course, out, signal.SIGTERM, course.calls // 2, 0.0) is not None:
            raise ChildError(f"{course.stage.name} was not interrupted")

        def go_on(course: Course = course, name: str = name, out: Path = out) -> dict[str, str]:
            with CONTROLS[name]():
                return course.finish(out)

        if ask(go_on)["params"] == course.expected["params"]:
            failures.append(f"{course.stage.name} restored {name} has the weights of the undisturbed run")
    return Count(tries - len(failures), tries, tuple(failures))


ROWS = (
    Row("resume", "interrupted and continued: weights, moments, metrics and log of the undisturbed run", 80, run),
    Row("controls", "restored without moments, random key or count: the comparison sees it", 15, control),
)
