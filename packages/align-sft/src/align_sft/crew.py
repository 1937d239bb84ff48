"""The gradient of a batch by several processes, each of its own rows.

MLX computes on one thread of a CPU, and the products of a small model are too small for the threads of a BLAS. A
helper is a function in another process: parameters and rows go in, loss and gradient come out, and it keeps nothing.
Parameters and gradients lie in memory that the processes share; a pipe says when.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_float
from dataclasses import dataclass
from functools import reduce
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from align_contracts import signals
from align_contracts.errors import IncompleteError
from align_mlx import fastmath
from align_mlx.adapters import Params

Make = Callable[[], nn.Module]
Loss = Callable[[nn.Module, mx.array, mx.array], mx.array]
Gradient = Callable[[Params, mx.array, mx.array, mx.array], tuple[mx.array, Params]]


def gradient_of(model: nn.Module, loss: Loss) -> Gradient:
    """Give the function (params, tokens_BL, lengths_B, share) → (share · loss, its gradient).

    Not compiled: on a machine that is new to it MLX would build some fifty kernels, half a second each, for a step that
    is an eighth faster. The model is made fast, see `align_mlx.fastmath`: in every process the same.
    """
    fastmath.speed_up(model)

    def of_params(params: Params, tokens_BL: mx.array, lengths_B: mx.array, share: mx.array) -> mx.array:
        model.update(tree_unflatten(list(params.items())))
        return share * loss(model, tokens_BL, lengths_B)

    return mx.value_and_grad(of_params)


@dataclass
class Helper:
    """Another process, as seen from here.

    Attributes:
        process: it.
        pipe: takes a part of a batch, gives its loss.
        gradient: shared fp32 numbers, there when the loss has come.
    """

    process: BaseProcess
    pipe: Connection
    gradient: Any


class Crew:
    """Computes gradients of a mean over predicted tokens; use as a context manager.

    A batch is cut into as many parts as there are processes, at rows that depend on its shape alone. The last bits of
    the sum depend on their number, not on the machine.
    """

    def __init__(self, model: nn.Module, make: Make, loss: Loss, processes: int, *, fresh: bool = True):
        """Prepare.

        Args:
            model: the model, in this process.
            make: makes a model of the same shape in another one; it and `loss` can be pickled.
            loss: the mean over the predicted tokens (all real ones but the first) of rows, given the model.
            processes: how many, this one too.
            fresh: whether the first batch is the first of the run.
        """
        self._own = gradient_of(model, loss)
        self._start = (make, loss)
        self._size = sum(array.size for _, array in tree_flatten(model.parameters()))
        self._parts, self._fresh = processes, fresh
        self._helpers: list[Helper] = []

    def __enter__(self) -> "Crew":
        context = get_context("spawn")  # MLX has threads, which a fork would not have
        self._params: Any = context.RawArray(c_float, self._size if self._parts > 1 else 0)
        for _ in range(self._parts - 1):
            (ours, theirs), gradient = context.Pipe(), context.RawArray(c_float, self._size)
            arguments = (theirs, self._params, gradient, *self._start)
            process = context.Process(target=help_with, args=arguments, name="pre-training", daemon=True)
            with deaf():
                process.start()
            theirs.close()  # so that the end of either process is the end of the pipe for the other
            self._helpers.append(Helper(process, ours, gradient))
        self._first = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for helper in self._helpers:
            helper.pipe.close()
            helper.process.kill()  # it keeps nothing
            helper.process.join()
        self._helpers = []

    def gradient(self, params: Params, tokens_BL: mx.array, lengths_B: mx.array) -> tuple[mx.array, Params]:
        """Give the loss of a batch and its gradient.

        Args:
            params: fp32 parameters.
            tokens_BL: padded ids.
            lengths_B: real tokens of each row.

        Raises:
            IncompleteError: a helper has ended.
        """
        tokens, lengths = np.array(tokens_BL), np.array(lengths_B)
        rows = [part for part in np.array_split(np.arange(len(tokens)), self._parts) if part.size]
        predicted = (lengths - 1).sum()
        batches = [(tokens[part], lengths[part], np.float32((lengths[part] - 1).sum() / predicted)) for part in rows]
        # MLX compiles a kernel to a file that all processes share: this one makes them alone, with a run's first batch.
        # A gradient's norm depends on its layout in the last bit: in each batch the same process has the same part.
        mine = len(batches) if self._fresh else 1
        helped = list(zip(self._helpers, batches[mine:], strict=False))
        try:
            if helped:
                flat(params, self._params)
            if not self._first:
                for helper, batch in helped:
                    helper.pipe.send(batch)
            found = [self._own(params, *map(mx.array, batch)) for batch in batches[:mine]]
            mx.eval(found)
            for helper, batch in helped:
                if self._first:  # one after another: where a run goes on the kernels may be gone
                    helper.pipe.send(batch)
                found.append((mx.array(helper.pipe.recv()), unflat(helper.gradient, params)))
            self._first, self._fresh = self._first and not helped, False
        except (EOFError, OSError) as error:
            raise IncompleteError(
                "a process that helps with pre-training has ended", do="run the same command again; was memory short?"
            ) from error
        return reduce(mx.add, (value for value, _ in found)), {
            name: reduce(mx.add, (grads[name] for _, grads in found)) for name in found[0][1]
        }


def flat(params: Params, shared: Any) -> None:
    """Write all numbers of some fp32 arrays into shared memory, in the order of their names."""
    np.concatenate([np.asarray(params[name]).ravel() for name in sorted(params)], out=np.frombuffer(shared, np.float32))


def unflat(shared: Any, like: Params) -> Params:
    """Undo `flat`: arrays of the names and shapes of `like`."""
    numbers, found, start = np.frombuffer(shared, np.float32), {}, 0
    for name in sorted(like):
        shape, size = like[name].shape, like[name].size
        found[name] = mx.array(numbers[start : start + size].reshape(shape))
        start += size
    return found


@contextmanager
def deaf() -> Iterator[None]:
    """Block the signals that ask for a stop: for a moment here, for good in a process that is started meanwhile.

    They reach the whole group, and who asks decides what they mean; what came to this process is heard afterwards.
    """
    resource_tracker.ensure_running()  # `multiprocessing` would start it with the process, and unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def help_with(pipe: Connection, shared_params: Any, shared_gradient: Any, make: Make, loss: Loss) -> None:
    """Answer parts of batches with their share of loss and gradient, until the process that asks is gone."""
    model = make()
    shapes: Params = dict(tree_flatten(model.parameters()))
    gradient = gradient_of(model, loss)
    try:
        while True:
            batch = map(mx.array, pipe.recv())
            value, grads = gradient(unflat(shared_params, shapes), *batch)
            mx.eval(value, grads)
            flat(grads, shared_gradient)
            pipe.send(value.item())
    except (EOFError, OSError):
        return
