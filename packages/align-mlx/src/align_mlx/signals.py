"""SIGINT and SIGTERM ask long work to stop, and the work looks whether they have.

A signal belongs to the whole process, and so does what it asked for: work that takes longer than a moment calls
`check` wherever nothing of it is half done. In a process that does not listen the call does nothing.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

from align_contracts.errors import InterruptedRun

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
        self.heard = signum
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if not self.patient:
            check()
        os.write(2, b"stopping: the state is being saved; a second signal stops at once\n")  # print may be running


_listening: list[Listener] = []


def check() -> None:
    """Raise InterruptedRun if a signal has asked for a stop."""
    for listener in _listening:
        if listener.heard:
            raise InterruptedRun("stopped", signum=listener.heard)


@contextmanager
def listening() -> Iterator[Listener]:
    """Take SIGINT and SIGTERM as wishes while the block runs; elsewhere than in the main thread nothing changes."""
    listener = Listener()
    if current_thread() is not main_thread():
        yield listener
        return
    _listening.append(listener)
    before = {number: signal.signal(number, listener.hear) for number in SIGNALS}
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
