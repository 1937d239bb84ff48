"""What a run keeps on disk until its artifact is published, so that a kill or Ctrl-C costs a few iterations only.

The latest training state of the run that makes ``runs/sft`` lies in ``runs/.sft.run``, with the run's identity beside
it: the settings that decide the result and the content digests of its inputs. A state is only ever continued by a run
of the same identity. It stands around `align_contracts.publish`, so that the state outlives everything that can fail::

    with unfinished.keep(config.out, config, inputs, every=config.save_every) as run, publish(...) as draft:
        run.begin(state, resume=config.resume)
        while ...:
            run.check()  # at points where nothing is half done
            state.update(...)
            run.save(state)
"""

import json
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from pydantic import BaseModel

from align_contracts import Artifact
from align_contracts.console import deterministic
from align_contracts.errors import ConfigError, InterruptedRun
from align_mlx.train_state import TrainState


@dataclass
class Run:
    """An unfinished run: where its state is, whose it is, and whether it has been asked to stop.

    Attributes:
        folder: the directory beside the artifact to be.
        identity: what the result depends on.
        every: iterations between saved states.
        signum: the signal that asked for a stop, or 0.
    """

    folder: Path
    identity: dict[str, Any]
    every: int
    signum: int = 0
    _state: TrainState | None = None

    def begin(self, state: TrainState, *, resume: bool = True) -> bool:
        """Continue from the saved state, if there is one; say whether there was.

        Args:
            state: the state of a fresh run; becomes the saved one.
            resume: otherwise a saved state is removed.

        Raises:
            ConfigError: the saved state belongs to other settings or inputs.
        """
        self._state = state
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        if not (self.folder / "identity.json").exists():
            return False
        saved = json.loads((self.folder / "identity.json").read_text())
        if saved != self.identity:
            raise ConfigError(
                f"an unfinished run of other settings or inputs is in {self.folder}",
                expected=f"equal {', '.join(_differing(saved, self.identity))}",
                do="Give the same settings to continue it, or --no-resume to start over",
            )
        state.restore(self.folder / "state")
        return True

    def save(self, state: TrainState) -> None:
        """Save the state if its iteration is a multiple of `every`."""
        if state.iteration % self.every == 0:
            self._save(state)

    def check(self) -> None:
        """Raise InterruptedRun if a signal has asked for a stop."""
        if self.signum:
            raise InterruptedRun("stopped", signum=self.signum)

    def _save(self, state: TrainState) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state.save(self.folder / "state")
        # After the first state, so that an identity is never there without one.
        if not (self.folder / "identity.json").exists():
            partial = self.folder / ".identity.json"
            partial.write_text(json.dumps(self.identity, sort_keys=True))
            partial.replace(self.folder / "identity.json")


@contextmanager
def keep(out: Path, config: BaseModel, inputs: Mapping[str, Artifact], *, every: int) -> Iterator[Run]:
    """Give the unfinished run of an artifact; SIGINT and SIGTERM ask it to stop at its next `Run.check`.

    When the block is left by InterruptedRun the state as it stands is saved: a half-done iteration has not changed
    it. When the block ends normally the directory is removed.

    Args:
        out: the artifact's directory.
        config: the run's settings.
        inputs: its input artifacts by role.
        every: iterations between saved states.

    Raises:
        InterruptedRun: the run was asked to stop; the message says how to continue.
    """
    folder = out.parent / f".{out.name}.run"
    digests = {role: artifact.content_digest for role, artifact in inputs.items()}
    settings = json.loads(json.dumps(deterministic(config)))
    run = Run(folder, {"settings": settings, "inputs": digests}, every)
    try:
        with _signals(run):
            yield run
    except InterruptedRun as error:
        if run._state is None:
            raise
        run._save(run._state)
        raise InterruptedRun(
            f"stopped after {run._state.iteration} iterations",
            signum=run.signum or signal.SIGINT,
            do="Run the same command again to continue",
        ) from error
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """Note SIGINT and SIGTERM in `run`; a second one acts at once."""
    if current_thread() is not main_thread():
        yield
        return

    def note(signum: int, frame: FrameType | None) -> None:
        run.signum = signum
        signal.signal(signum, before[signal.Signals(signum)])
        print("stopping; the state is being saved", file=sys.stderr)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _differing(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings and inputs in which two identities differ."""
    return sorted(
        f"{part} {name}"
        for part in ("settings", "inputs")
        for name in {*saved.get(part, {}), *now[part]}
        if saved.get(part, {}).get(name) != now[part].get(name)
    )
