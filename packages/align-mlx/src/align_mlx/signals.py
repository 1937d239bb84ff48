"""SIGINT, SIGTERM and SIGHUP ask long work to stop, and the work looks whether they have.

A signal belongs to the whole process, and so does what it asked for: work that takes longer than a moment calls
`check` wherever nothing of it is half done. In a process that does not listen the call does nothing.
"""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from types import FrameType

from align_contracts.errors import InterruptedRun

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler, and a terminal that was closed; under nohup the last one stays ignored."""

TWICE = 1.0
"""Seconds in which a signal that comes again is the same wish: what is sent to a group of processes reaches a process
itself, and once more through a parent that hands it on, as ``uv run`` does."""

Handler = Callable[[int, FrameType | None], None]


def wishes(act: Handler) -> Handler:
    """Give a handler that acts on a signal, but not on what follows it within `TWICE`."""
    last = -math.inf

    def hear(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > TWICE:
            last = now
            act(signum, frame)

    return hear


class Listener:
    """How a process that listens takes the first signal.

    Attributes:
        patient: wait for the next `check`; otherwise stop at once, while there is nothing yet that could be lost.
        heard: the signal, or 0.
    """

    patient = False
    heard = 0

    def hear(self, signum: int, frame: FrameType | None) -> None:
        """Note the signal; the second one ends the process, whatever it is doing."""
        if self.heard:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.heard = signum
        if not self.patient:
            check()
        with suppress(OSError):  # nobody reads it any more
            os.write(2, b"stopping: the state is being saved; a second signal stops at once\n")  # print may be running


_listening: list[Listener] = []


def check() -> None:
    """Raise InterruptedRun if a signal has asked for a stop."""
    for listener in _listening:
        if listener.heard:
            raise InterruptedRun("stopped", signum=listener.heard)


def wanted() -> tuple[signal.Signals, ...]:
    """Give the signals to listen to: SIGHUP only if whoever started the process did not have it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in SIGNALS if number != signal.SIGHUP or not ignored)


@contextmanager
def listening() -> Iterator[Listener]:
    """Take `SIGNALS` as wishes while the block runs; elsewhere than in the main thread nothing changes."""
    listener = Listener()
    if current_thread() is not main_thread():
        yield listener
        return
    _listening.append(listener)
    hear = wishes(listener.hear)
    before = {number: signal.signal(number, hear) for number in wanted()}
    try:
        yield listener
    except Exception as error:
        if listener.heard and not listener.patient and not isinstance(error, InterruptedRun):
            raise InterruptedRun("stopped", signum=listener.heard) from error  # what the signal broke off has said so
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _listening.remove(listener)
