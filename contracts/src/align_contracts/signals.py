"""SIGINT, SIGTERM and SIGHUP ask work to stop: at once while it has nothing to lose, later where it looks for them.

A signal belongs to the whole process, and so does what it asked for. Every console script listens from its first line
on, and stops wherever it is. Work that has a state to save becomes patient, and calls `check` wherever nothing of it is
half done. In a process that does not listen the call does nothing.
"""

from __future__ import annotations

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


class Stop(BaseException):
    """What a signal raises in work that is not patient; `listening` makes an InterruptedRun of it.

    Not an Exception, which libraries take for an error of their own, nor a KeyboardInterrupt: where that passes through
    an `exec`, Python ends the process by SIGINT in the end, whatever was made of it.
    """


class Listener:
    """How a process that listens takes a signal.

    Attributes:
        patient: wait for the next `check`; otherwise stop at once, while there is nothing yet that could be lost.
        heard: the signal, or 0.
    """

    patient = False
    heard = 0

    def hear(self, signum: int, frame: FrameType | None) -> None:
        """Note the signal, and stop what is not patient; the second one ends what is, whatever it is doing."""
        if self.heard and self.patient:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        self.heard = signum
        if self.patient:
            with suppress(OSError):  # nobody reads it any more; not print, which may be running
                os.write(2, b"stopping: the state is being saved; a second signal stops at once\n")
        elif not _moments:
            raise Stop


_listening: list[Listener] = []
_moments: list[None] = []
"""Blocks of `a_moment` that are running."""


def stopped(signum: int) -> InterruptedRun:
    """Give what a signal makes of work that had nothing to save."""
    return InterruptedRun(f"stopped by {signal.Signals(signum).name}", signum=signum, do="Run the same command again")


def check() -> None:
    """Raise InterruptedRun if a signal has asked for a stop."""
    for listener in _listening:
        if listener.heard:
            raise stopped(listener.heard)


def wanted() -> tuple[signal.Signals, ...]:
    """Give the signals to listen to: SIGHUP only if whoever started the process did not have it ignored."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in SIGNALS if number != signal.SIGHUP or not ignored)


@contextmanager
def listening() -> Iterator[Listener]:
    """Take `SIGNALS` as wishes while the block runs; elsewhere than in the main thread nothing changes.

    Raises:
        InterruptedRun: a signal has stopped the block.
    """
    listener = Listener()
    if current_thread() is not main_thread():
        yield listener
        return
    _listening.append(listener)
    hear, before = wishes(listener.hear), {}
    try:
        for number in wanted():
            before[number] = signal.signal(number, hear)
        yield listener
    except BaseException as error:  # also of a library that makes an error of its own of whatever it catches
        if listener.heard and not listener.patient and not isinstance(error, InterruptedRun):
            raise stopped(listener.heard) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _listening.remove(listener)


@contextmanager
def a_moment() -> Iterator[None]:
    """Let a signal wait for the end of the block, which takes no longer than a person would notice."""
    if current_thread() is not main_thread():
        yield
        return
    _moments.append(None)
    try:
        yield
    finally:
        _moments.pop()
    if any(listener.heard and not listener.patient for listener in _listening):
        raise Stop
