"""One pipeline at a time in a directory of artifacts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from align_contracts import LockedError
from align_contracts.durable import lock_holder, locked, make_directory

GRACE = 20.0
"""Seconds that the steps of a pipeline that was killed may take to end; they hold its lock until then."""


@contextmanager
def only_one(out: Path) -> Iterator[int]:
    """Hold a directory of artifacts for one pipeline and its steps.

    Args:
        out: the directory; made where it is not there.

    Yields:
        The lock's file descriptor, for the steps to inherit.

    Raises:
        LockedError: another pipeline works there, saying which.
        PreflightError: the directory cannot be made.
    """
    make_directory(out, parents=True)
    place, deadline = out / "pipeline", time.monotonic() + GRACE
    with ExitStack() as stack:
        while True:
            try:
                descriptor = stack.enter_context(locked(place))
                break
            except LockedError:
                holder = lock_holder(place)
                if holder is None or _alive(holder[0]) or time.monotonic() > deadline:
                    who = "another pipeline or a step of one" if holder is None else holder[1]
                    raise LockedError(
                        f"a pipeline works in {out}", got=who, do="Wait for it to end, or choose another --out"
                    ) from None
            time.sleep(0.1)
        yield descriptor


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
