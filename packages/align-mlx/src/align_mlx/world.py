"""The processes that share the work of one run: data-parallel training through `mx.distributed`.

``mlx.launch -n 2 --hostfile hosts.json -- align-sft train …`` starts the same command several times. Each process holds
the whole model and the whole state, computes its share of the rows, and then knows what all have computed: gradients
are summed and small arrays gathered in the order of the processes, so every one of them takes the same decisions and
the same steps. The first one alone writes. A run of one process pays nothing and computes what it always did::

    with connected() as world:
        mine = world.share(rows)                    # every process another part
        grads = world.total(gradient_of(mine))      # and all of them the sum

Processes meet only here. Each meeting begins with a short word from everyone, where it is and whether it goes on: a
process that fails or is told to stop says so, the others stop with it, and the first one alone tells the user. One that
says nothing is not waited for for ever (`ALIGN_PEER_SECONDS`), and one that has died is noticed at once where the
backend tells (the ring does).
"""

import json
import os
import signal
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from pydantic import BaseModel

from align_contracts.errors import (
    AlignError,
    ConfigError,
    DivergedError,
    IncompleteError,
    InterruptedRun,
    PreflightError,
    VerificationError,
)
from align_contracts.launcher import end_with_launcher, launched
from align_mlx.adapters import Params

Item = TypeVar("Item")
Config = TypeVar("Config", bound=BaseModel)
PEER_SECONDS = 1800.0
"""How long a process waits for the others, unless the environment variable `ALIGN_PEER_SECONDS` says another time."""
LEAVE_SECONDS = 15.0
"""How long one that has to stop waits until the others have heard of it."""
WORD = struct.Struct("<48sqq1000s")
"""What each says at a meeting: where it is, how many bytes it brings, its exit code (0: it goes on), why it stops."""
KINDS = {2: ConfigError, 3: VerificationError, 4: DivergedError, 6: PreflightError}
"""What the others raise when one process stops with this exit code."""


@dataclass(eq=False)
class World:
    """The processes of a run, as seen from one of them.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1
    _heard: bool = field(default=False, repr=False)  # another one's end, as all have
    _gone: bool = field(default=False, repr=False)  # one of the others, without a word

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes checkpoints, logs and artifacts."""
        return self.rank == 0

    def quietly(self, config: Config) -> Config:
        """Give the settings with which only one process shows progress and feeds a tracker."""
        return config if self.writes else config.model_copy(update={"quiet": True, "track": "none"})

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Give this process's part of some items: dealt out one by one, so sort them by the work they are."""
        return list(items[self.rank :: self.size])

    def whole(self, parts: Sequence[Sequence[Item]]) -> list[Item]:
        """Undo `share`: give the items in their order from the parts of all processes."""
        items: list[Any] = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            items[rank :: self.size] = part
        return items

    def gather(self, what: str, value: Any) -> list[Any]:
        """Give every process's JSON value, NaN allowed, in the order of the processes.

        Args:
            what: names the meeting, the same in every process.
            value: this process's.

        Raises:
            AlignError: another process has stopped; of the kind that it stopped with.
            IncompleteError: another process has gone, or is somewhere else.
        """
        if self.size == 1:
            return [value]
        return [json.loads(found) for found in self._meet(what, json.dumps(value).encode())]

    def gather_arrays(self, what: str, arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """Give every process's arrays, which may have other shapes than here; raises as `gather`."""
        if self.size == 1:
            return [list(arrays)]
        file = BytesIO()
        np.savez(file, *arrays)
        found = [np.load(BytesIO(one), allow_pickle=False) for one in self._meet(what, file.getvalue())]
        return [[one[name] for name in one.files] for one in found]

    def first(self, what: str, payload: bytes) -> bytes:
        """Give what the first process brings; raises as `gather`."""
        return payload if self.size == 1 else self._meet(what, payload if self.writes else b"")[0]

    def total(self, arrays: Params, like: Params) -> Params:
        """Sum fp32 arrays over the processes, always in the order of the processes; raises as `gather`.

        Args:
            arrays: this process's, by name; none where it had no rows.
            like: all names and shapes, as in every process.
        """
        if self.size == 1:
            return arrays
        names = sorted(like)
        flat = mx.concatenate([arrays.get(name, mx.zeros_like(like[name])).reshape(-1) for name in names])
        self._meet("total")
        parts = self._everyone(flat)
        summed = parts[0]
        for rank in range(1, self.size):
            summed = summed + parts[rank]
        ends = np.cumsum([like[name].size for name in names])[:-1].tolist()
        found = zip(names, mx.split(summed, ends), strict=True)
        return {name: part.reshape(like[name].shape) for name, part in found}

    def sums(self, what: str, numbers: Mapping[str, float], largest: str = "") -> dict[str, float]:
        """Sum numbers by name over the processes; of the one called `largest` the largest. Raises as `gather`."""
        if self.size == 1:
            return dict(numbers)
        found: dict[str, float] = {}
        for part in self.gather(what, dict(numbers)):
            for name, value in part.items():
                seen = found.get(name, 0.0 if name != largest else -np.inf)
                found[name] = float(np.maximum(seen, value)) if name == largest else seen + value
        return found

    def leave(self, error: BaseException) -> bool:
        """Tell the others that an error ends this process; they are given `LEAVE_SECONDS` to hear it.

        Returns:
            Whether the first process tells the user, so that this one need not.
        """
        if self.size == 1 or self._gone:
            return False
        code = error.exit_code if isinstance(error, AlignError) else 1
        if not self._heard:
            try:
                with _patience(LEAVE_SECONDS, f"error: {error}", code):
                    first, *_ = self._words("leaving", 0, code, str(error))
            except IncompleteError:
                return False  # there is nobody left to tell
            if first[2] not in (0, code):  # it stops as well, and for another reason
                return False
        return not self.writes

    def _meet(self, what: str, payload: bytes = b"") -> list[bytes]:
        """Exchange bytes, once it is known that all are here and go on."""
        words = self._words(what, len(payload), 0, "")
        for rank, (_, _, code, why) in enumerate(words):
            if code:
                self._heard = True
                raise _stopped(rank, self.size, code, why)
        if len({there for there, *_ in words}) > 1:
            raise IncompleteError(
                "the processes of the run are at different places",
                expected=what,
                got=", ".join(there for there, *_ in words),
                do="Start all of them with the same command, program and inputs",
            )
        longest = max(length for _, length, *_ in words)
        if longest == 0:
            return [b""] * self.size
        padded = np.zeros(longest, np.uint8)
        padded[: len(payload)] = np.frombuffer(payload, np.uint8)
        parts = np.array(self._everyone(mx.array(padded)))
        return [parts[rank, :length].tobytes() for rank, (_, length, *_) in enumerate(words)]

    def _words(self, what: str, length: int, code: int, why: str) -> list[tuple[str, int, int, str]]:
        word = WORD.pack(what.encode(), length, code, why.encode())  # cuts what is too long
        found = np.array(self._everyone(mx.array(np.frombuffer(word, np.uint8))))
        words = (WORD.unpack(one.tobytes()) for one in found)
        text = lambda raw: raw.rstrip(b"\0").decode(errors="ignore")  # noqa: E731
        return [(text(there), n, code, text(why)) for there, n, code, why in words]

    def _everyone(self, array: mx.array) -> mx.array:
        """Give the arrays [n] of all processes as one [size, n]."""
        seconds = _peer_seconds()
        late = f"error: another process has said nothing for {seconds:g} s (ALIGN_PEER_SECONDS). Look at the others"
        try:
            with _patience(seconds, late, IncompleteError.exit_code):
                parts = mx.distributed.all_gather(array)
                mx.eval(parts)
        except RuntimeError as error:
            self._gone = True
            raise IncompleteError(
                f"another process of the run has gone ({error})",
                do="Look at what it said last; the same command goes on from the newest checkpoint",
            ) from error
        return parts.reshape(self.size, -1)


ALONE = World()
"""One process."""


@contextmanager
def connected() -> Iterator[World]:
    """Join the processes that `mlx.launch` or `mpirun` has started together; a process with no others is `ALONE`.

    What ends the block with an error in one process ends it in all of them, and a block that ends well ends when all
    are done.

    Raises:
        PreflightError: the others cannot be reached.
        SystemExit: an error ends this process, of which the first one tells the user.
    """
    world = _join()
    try:
        yield world
        world.gather("end", None)
    except AlignError as error:
        if world.leave(error):
            raise SystemExit(error.exit_code) from None
        raise
    except Exception as error:
        world.leave(error)
        raise


def _join() -> World:
    place = launched()
    if place is None:
        return ALONE
    seconds = _peer_seconds()
    end_with_launcher()
    if place.first:
        print(f"note: waiting for the other processes of the run, at most {seconds:g} s", file=sys.stderr, flush=True)
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the call below lets no other thread of Python run
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        group = mx.distributed.init(strict=True)
    except (RuntimeError, ValueError) as error:
        raise PreflightError(
            f"the other processes of the run cannot be reached ({error})",
            got=f"{place.variable} {place.rank}, one of several",
            do=place.alone,
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return World(group.rank(), group.size())


def _peer_seconds() -> float:
    text = os.environ.get("ALIGN_PEER_SECONDS", str(PEER_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ConfigError("ALIGN_PEER_SECONDS", expected="a number of seconds above 0", got=repr(text))
    return seconds


def _stopped(rank: int, size: int, code: int, why: str) -> AlignError:
    """Give the error that another process's end is here."""
    if code > 128:
        return InterruptedRun("stopped", signum=code - 128)
    return KINDS.get(code, IncompleteError)(f"process {rank + 1} of {size} has stopped: {why}")


@contextmanager
def _patience(seconds: float, message: str, code: int) -> Iterator[None]:
    """End this process if the block takes longer: nothing else gets out of a collective that waits for the dead."""

    def give_up() -> None:
        print(message, file=sys.stderr, flush=True)
        os._exit(code)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
