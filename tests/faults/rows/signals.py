"""Console scripts that are asked to stop at random moments, from their first line to Python's own end."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from align_contracts import open_artifact, signals
from faults.chain import ROOT, SETTINGS, make_chain
from faults.row import BrokenPromiseError, Count, Row, sentence, tally
from faults.warm import Scripts
from pipeline.plan import Planned, plan

LATEST = 2.0
"""Seconds after its beginning in which a script is sent its signal: some are done by then."""
PATIENCE = 30.0
"""Seconds in which it must end."""
STEPS = ("data", "base", "sft", "rm", "grpo-1", "responses-grpo-1", "judgments-grpo-1")
NAME = "x"


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Stop every command of a chain in turn, each in a directory of its own."""
    make_chain(scratch / "chain")
    planned = plan(ROOT / "tests" / "tiny.toml", scratch / "chain", SETTINGS)[1]
    steps = [one for one in planned if one.step.name in STEPS]
    rng, found = random.Random(seed), list[str | None]()
    with Scripts() as scripts:
        for index in range(tries):
            step, out = steps[index % len(steps)], scratch / str(index)
            number, delay = rng.choice(signals.SIGNALS), rng.uniform(0, LATEST)
            what = f"{step.step.name}: {number.name} after {delay:.3f} s"
            found.append(sentence(what, _stopping(scripts, step, out, number, delay)))
    return tally(found)


def _stopping(scripts: Scripts, step: Planned, out: Path, number: signal.Signals, delay: float) -> Callable[[], None]:
    def stop() -> None:
        sent = [0.0]

        def strike(process: int) -> None:
            time.sleep(delay)
            sent[0] = time.monotonic()
            with contextlib.suppress(ProcessLookupError):  # it was done
                os.kill(process, number)

        (work := out / "work").mkdir(parents=True)
        code = scripts.run(step.step.script, [*step.argv, "--out", str(work / NAME)], out / "log.txt", strike)
        check(code, time.monotonic() - sent[0], (out / "log.txt").read_text(), work, number)

    return stop


def check(code: int, seconds: float, said: str, work: Path, number: signal.Signals) -> None:
    """Raise BrokenPromiseError where a script that was sent a signal has not kept the promise.

    Args:
        code: its exit code; −n where the system ended it: it did not listen yet, or no longer.
        seconds: from the signal to its end.
        said: what it wrote.
        work: where its artifact goes, alone.
        number: the signal.
    """
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    left = {path.name for path in work.iterdir()} - {NAME, f".{NAME}.run"}
    if code not in (0, 128 + number, -number) or len(errors) != (code > 0):
        raise BrokenPromiseError(f"exit code {code} and {len(errors)} lines of error: {said[-500:]!r}")
    if "Traceback" in said or "Exception ignored" in said:
        raise BrokenPromiseError(f"a traceback: {said[-500:]!r}")
    if left:
        raise BrokenPromiseError(f"{', '.join(sorted(left))} left behind")
    if seconds > PATIENCE:
        raise BrokenPromiseError(f"it ended after {seconds:.0f} s")
    if (work / NAME).exists() or not code:
        open_artifact(work / NAME, deep=True)


ROWS = (Row("signals", "asked to stop at any moment: one line, its exit code, nothing left but the state", 100, run),)
