"""The gradient of a batch by several processes, each of its own rows.

MLX computes on one thread of a CPU, and the products of a small model are too small for the threads of a BLAS. A
helper is a function in another process: parameters and rows go in, loss and gradient come out, and it keeps nothing.
"""

import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from align_contracts.errors import IncompleteError
from align_mlx import fastmath
from align_mlx.adapters import Params

Make = Callable[[], nn.Module]
Loss = Callable[[nn.Module, mx.array, mx.array], mx.array]
Gradient = Callable[[Params, mx.array, mx.array], tuple[mx.array, Params]]


def gradient_of(model: nn.Module, loss: Loss) -> Gradient:
    """Give the function (params, tokens_BL, lengths_B) → (loss, gradient) of a model, compiled for every shape.

    The model is made fast, see `align_mlx.fastmath`: in every process the same.
    """
    fastmath.speed_up(model)

    def of_params(params: Params, tokens_BL: mx.array, lengths_B: mx.array) -> mx.array:
        model.update(tree_unflatten(list(params.items())))
        return loss(model, tokens_BL, lengths_B)

    return mx.compile(mx.value_and_grad(of_params))


class Crew:
    """Computes gradients of a mean over predicted tokens; use as a context manager.

    A batch is cut into as many parts as there are processes, at rows that depend on its shape alone; the last bits of
    the sum depend on their number, not on the machine.

    Attributes:
        own: the gradient of a part in this process.
    """

    def __init__(self, model: nn.Module, make: Make, loss: Loss, processes: int):
        """Prepare.

        Args:
            model: the model, in this process.
            make: makes a model of the same shape in another one; it and `loss` can be pickled.
            loss: the mean over the predicted tokens (all real ones but the first) of rows, given the model.
            processes: how many, this one too.
        """
        self.own = gradient_of(model, loss)
        self._start = (make, loss)
        self._parts = processes
        self._helpers: list[Connection] = []
        self._running: list[BaseProcess] = []

    def __enter__(self) -> "Crew":
        context = get_context("spawn")  # MLX has threads, which a fork would not have
        for _ in range(self._parts - 1):
            ours, theirs = context.Pipe()
            process = context.Process(target=help_with, args=(theirs, *self._start), name="pre-training", daemon=True)
            process.start()
            self._running.append(process)
            theirs.close()  # so that the end of either process is the end of the pipe for the other
            self._helpers.append(ours)
        self._alone = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for helper, process in zip(self._helpers, self._running, strict=True):
            helper.close()
            process.kill()  # it keeps nothing
            process.join()
        self._helpers, self._running = [], []

    def gradient(self, params: Params, tokens_BL: mx.array, lengths_B: mx.array) -> tuple[mx.array, Params]:
        """Give the loss of a batch and its gradient.

        Args:
            params: fp32 parameters.
            tokens_BL: padded ids.
            lengths_B: real tokens of each row.

        Raises:
            IncompleteError: a helper has ended.
        """
        rows = [part for part in np.array_split(np.arange(tokens_BL.shape[0]), self._parts) if part.size]
        batches = [(tokens_BL[mx.array(part)], lengths_B[mx.array(part)]) for part in rows]
        # MLX compiles a kernel to a file that all processes share: the first batch is computed by this one alone.
        helpers = [] if self._alone else self._helpers[: len(batches) - 1]
        self._alone = False
        try:
            sent = flat(params).tobytes() if helpers else b""
            for helper, batch in zip(helpers, batches[len(batches) - len(helpers) :], strict=True):
                helper.send([np.array(array) for array in batch])
                helper.send_bytes(sent)
            found = [self.own(params, *batch) for batch in batches[: len(batches) - len(helpers)]]
            mx.eval(found)
            for helper in helpers:
                value = helper.recv()
                found.append((mx.array(value), unflat(np.frombuffer(helper.recv_bytes(), np.float32), params)))
        except (EOFError, OSError) as error:
            raise IncompleteError(
                "a process that helps with pre-training has ended", do="Run the same command again; was memory short?"
            ) from error
        predicted = [int((lengths - 1).sum().item()) for _, lengths in batches]
        return weighted(found, [count / sum(predicted) for count in predicted])


def weighted(parts: Sequence[tuple[mx.array, Params]], weights: Sequence[float]) -> tuple[mx.array, Params]:
    """Give the weighted sum of losses and of gradients, in order."""
    value = sum((weight * one for weight, (one, _) in zip(weights, parts, strict=True)), mx.array(0.0))
    names = parts[0][1]
    grads = {name: sum(w * grads[name] for w, (_, grads) in zip(weights, parts, strict=True)) for name in names}
    return value, grads


def flat(params: Params) -> np.ndarray:
    """Give all numbers of some fp32 arrays as one array, in the order of their names."""
    return np.concatenate([np.array(params[name]).ravel() for name in sorted(params)])


def unflat(numbers: np.ndarray, like: Params) -> Params:
    """Undo `flat`: arrays of the names and shapes of `like`."""
    found, start = {}, 0
    for name in sorted(like):
        shape, size = like[name].shape, like[name].size
        found[name] = mx.array(numbers[start : start + size].reshape(shape))
        start += size
    return found


def help_with(pipe: Connection, make: Make, loss: Loss) -> None:
    """Answer rows and parameters with loss and gradient, until the process that asks is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; who asks decides what they mean
        signal.signal(number, signal.SIG_IGN)
    model = make()
    shapes: Params = dict(tree_flatten(model.parameters()))
    gradient = gradient_of(model, loss)
    try:
        while True:
            tokens_BL, lengths_B = (mx.array(array) for array in pipe.recv())
            params = unflat(np.frombuffer(pipe.recv_bytes(), np.float32), shapes)
            value, grads = gradient(params, tokens_BL, lengths_B)
            mx.eval(value, grads)
            pipe.send(float(value.item()))
            pipe.send_bytes(flat(grads).tobytes())
    except (EOFError, OSError):
        return
