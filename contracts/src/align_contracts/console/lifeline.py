"""A console script that was started by a pipeline does not outlive it, however the pipeline ends.

The pipeline holds the writing end of a pipe and its steps the reading end. When the pipeline is gone (killed, say, with
its whole process group, to which its steps do not belong) the system closes the writing end, and the steps end too.
"""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["LIFELINE", "hold"]

LIFELINE = "ALIGN_LIFELINE"
"""Environment variable with the number of the pipe's file descriptor."""


def hold() -> None:
    """End this process at once when its lifeline is cut; without one in the environment nothing happens."""
    number = os.environ.pop(LIFELINE, "")  # not for children: they do not inherit the descriptor
    if number.isdecimal():
        threading.Thread(target=_wait, args=(int(number),), name="lifeline", daemon=True).start()


def _wait(descriptor: int) -> None:
    try:
        cut = os.read(descriptor, 1) == b""
    except OSError:  # no such pipe: the variable was not meant for us
        return
    if cut:
        os.kill(os.getpid(), signal.SIGKILL)  # nothing to save: artifacts appear whole, and the last checkpoint stands
