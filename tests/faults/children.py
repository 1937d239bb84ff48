"""Forked children of a warm process: they start at once, may be killed, and give their result or their error back.

The parent must not have computed with MLX: its threads do not survive a fork.
"""

import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from faults.row import BrokenPromiseError


class ChildError(BrokenPromiseError):
    """A child raised what it was not expected to, or died; `traceback` has all of it."""

    def __init__(self, traceback: str) -> None:
        self.traceback = traceback.strip()
        super().__init__(self.traceback.rpartition("\n")[2])


def ask(work: Callable[[], Any]) -> Any:
    """Do the work in a child and give its result.

    Raises:
        ChildError: the work raised, or the child died.
    """
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.close(read)
        _be_child(work, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not data:
        raise ChildError(f"a child ended with status {status} and said nothing")
    done, result = pickle.loads(data)
    if not done:
        raise ChildError(result)
    return result


def kill_during(work: Callable[[], Any], delay: float | None) -> bool:
    """Do the work in a child and send it SIGKILL `delay` seconds after its beginning; None leaves that to the work.

    Returns:
        Whether the child was killed before it was done.

    Raises:
        ChildError: the work raised.
    """
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.close(read)
        _be_child(lambda: (os.write(write, b"."), work()), write)
    os.close(write)
    with os.fdopen(read, "rb", buffering=0) as pipe:
        pipe.read(1)
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return True
        done, result = pickle.loads(pipe.read())
    if not done:
        raise ChildError(result)
    return False


def seconds(work: Callable[[], Any]) -> float:
    """Give the time that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def die() -> None:
    """Be killed here and now."""
    os.kill(os.getpid(), signal.SIGKILL)


def _be_child(work: Callable[[], Any], write: int) -> NoReturn:
    try:
        said = pickle.dumps((True, work()))
    except BaseException:
        said = pickle.dumps((False, traceback.format_exc()))
    try:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(said)
    finally:
        os._exit(0)
