"""A run's numbers in TensorBoard, trackio or Weights & Biases, by a process of its own that can never stop the run.

What a training logs also goes, as lines of JSON, into the pipe of `track_writer`. The pipe is never waited for: a
record that finds no room waits in a short queue, and when that is full it is dropped and counted. A tracker that hangs,
fails or is killed costs one warning at the end. `align_mlx.unfinished.Run.log` is the one place that hands rows on::

    with tracking(config, config.out) as track:
        ...
        track({"step": 3, "loss": 1.5, "eval": {"kl": 0.1}})      # train/loss and eval/kl at step 3
"""

import contextlib
import importlib.util
import json
import math
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align_contracts.canonical import digest
from align_contracts.console import deterministic
from align_contracts.errors import ConfigError
from align_mlx.settings import TrackingSettings

QUEUED = 1000
"""Records that wait where the tracker does not keep up."""
PATIENCE = 10.0
"""Seconds that the end of a run waits for its tracker."""
INTERRUPTED = 1.0
"""Seconds that it waits when the run was stopped or failed."""
CONSTANTS = ("step", "iteration", "seed", "steps", "num_iterations")
"""Numbers of a record that are no measurements."""
WRITER = Path(__file__).with_name("track_writer.py")


class Track:
    """Hands records to a tracker's process; called with a record, it returns at once and raises nothing.

    Attributes:
        dropped: records that did not reach the process.
        taken: records handed to it or waiting.
    """

    def __init__(self, process: "subprocess.Popen[bytes] | None"):
        self.process = process
        self.dropped = self.taken = 0
        self._queue: deque[bytes] = deque()
        if process is not None:
            assert process.stdin is not None
            self._pipe = process.stdin.fileno()
            os.set_blocking(self._pipe, False)

    def __call__(self, record: Mapping[str, Any], kind: str = "train") -> None:
        """Hand on the finite numbers of a record.

        Args:
            record: numbers by name, those of an inner mapping under its name; ``step`` or ``iteration`` says when.
            kind: the name before the slash.
        """
        if self.process is None:
            return
        self.taken += 1
        if len(self._queue) >= QUEUED:
            self.dropped += 1
            return
        step = record.get("step", record.get("iteration", self.taken))
        line = {"kind": kind, "step": step, "values": dict(numbers(record, kind))}
        self._queue.append(json.dumps(line).encode() + b"\n")
        self._flush()

    def close(self, patience: float) -> str | None:
        """Let the process finish; kill it where it takes longer than `patience` seconds.

        Returns:
            What went wrong, in a sentence, or None.
        """
        if self.process is None:
            return None
        assert self.process.stdin is not None
        until = time.monotonic() + patience
        while self._queue and (left := until - time.monotonic()) > 0 and self.process.poll() is None:
            select.select([], [self._pipe], [], min(left, 0.2))
            self._flush()
        self.dropped += len(self._queue)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            code = self.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "did not finish in time"
        if code != 0:
            return f"ended with exit code {code}"
        return "dropped records" if self.dropped else None

    def _flush(self) -> None:
        while self._queue:
            try:
                written = os.write(self._pipe, self._queue[0])
            except BlockingIOError:
                return
            except OSError:  # the process has ended
                self.dropped += len(self._queue)
                self._queue.clear()
                return
            if written < len(self._queue[0]):
                self._queue[0] = self._queue[0][written:]
                return
            self._queue.popleft()


SILENT = Track(None)
"""No tracker."""


def numbers(record: Mapping[str, Any], kind: str) -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of a record by name: ``train/loss``, and ``eval/kl`` of an inner mapping ``eval``."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from numbers(value, name)
        elif name not in CONSTANTS and type(value) in (int, float) and math.isfinite(value):
            yield f"{kind}/{name}", float(value)


def require_tracker(config: TrackingSettings) -> None:
    """Raise ConfigError where the tracker is not installed: before any work is done."""
    if config.track in ("trackio", "wandb") and importlib.util.find_spec(config.track) is None:
        raise ConfigError(
            f"--track {config.track} needs the package {config.track}",
            do=f"uv pip install {config.track} (the extra align-rl[{config.track}]), or leave --track out",
        )


@contextlib.contextmanager
def tracking(config: TrackingSettings, out: Path) -> Iterator[Track]:
    """Start the tracker that the settings name and give what records are handed to; without one it does nothing.

    Args:
        config: the run's settings: its ``track``, its ``track_dir``, and what identifies it.
        out: the artifact's directory: the run is called after it, and ``tracking`` lies beside it by default.

    Raises:
        ConfigError: the tracker is not installed.
    """
    require_tracker(config)
    folder = config.track_dir or out.absolute().parent / "tracking"
    log = folder / f"{out.name}.log"
    track = Track(None if config.track == "none" else _start(config, folder, out.name, log))
    patience = INTERRUPTED
    try:
        yield track
        patience = PATIENCE
    finally:
        if problem := track.close(patience):
            lost = f"{track.dropped} of {track.taken} records did not reach it"
            print(f"note: the tracker {config.track} {problem}; {lost}; the run goes its way ({log})", file=sys.stderr)


def _start(config: TrackingSettings, folder: Path, name: str, log: Path) -> "subprocess.Popen[bytes] | None":
    settings = digest(deterministic(config))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as text:
            return subprocess.Popen(
                [sys.executable, "-P", str(WRITER), config.track, str(folder), name, settings],
                stdin=subprocess.PIPE,
                stdout=text,
                stderr=text,
                start_new_session=True,  # Ctrl-C is for the run; the tracker ends when its pipe does
            )
    except OSError as error:
        print(f"note: the tracker {config.track} cannot be started ({error}); the run goes on", file=sys.stderr)
        return None
