"""The whole state of a training run in one object, so that saving it and restoring it is all a resume needs."""

import json
import math
from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map

from align_contracts.errors import NonFiniteError
from align_mlx.adapters import Params
from align_mlx.finite import all_finite, broken, listed
from align_mlx.tensors import save_tensors


@dataclass
class TrainState:
    """What a run is made of at the start of an iteration.

    Attributes:
        params: trainable arrays by name, fp32; always in the order of their names, because the gradient's norm is
            summed in that order and a resumed run must find the same last bit.
        optimizer: AdamW with bias correction (Loshchilov & Hutter, arXiv 1711.05101) and its moments.
        iteration: iterations finished.
        memory: JSON values of everything else that lives on: controller, normaliser, best checkpoint, data cursor.
            Random numbers need no state: they depend on the seed and the iteration.
        best: parameters of the best policy so far, of a run that chooses one.
    """

    params: Params
    optimizer: optim.AdamW
    iteration: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    best: Params = field(default_factory=dict)

    @classmethod
    def start(cls, params: Params, *, weight_decay: float = 0.0) -> "TrainState":
        """Begin a run from these parameters with fresh moments."""
        optimizer = optim.AdamW(learning_rate=0.0, weight_decay=weight_decay, bias_correction=True)
        optimizer.init(params)
        return cls(dict(sorted(params.items())), optimizer)

    def update(self, grads: Params, learning_rate: float | dict[str, float], max_grad_norm: float) -> float:
        """Take one optimizer step with gradients clipped by their joint norm.

        Args:
            grads: one gradient for every parameter.
            learning_rate: one rate, or rates by prefix of the parameter's name.
            max_grad_norm: the joint norm above which all gradients are scaled down together.

        Returns:
            The norm before clipping.

        Raises:
            NonFiniteError: the norm is not finite, or what the step would make is not; parameters and moments are as
                before.
        """
        rates = learning_rate if isinstance(learning_rate, dict) else {"": learning_rate}
        if any(rates.values()):  # what waits has no part in the joint norm, nor in its own moments
            waiting = {name for name in grads if _rate(rates, name) == 0}
            grads = {name: mx.zeros_like(grad) if name in waiting else grad for name, grad in grads.items()}
        base = max(rates.values())
        kept = self.optimizer.state
        before = kept["learning_rate"]  # the one entry that is written in place
        self.optimizer.learning_rate = base
        # Adam's step is proportional to its rate, so a smaller rate is the same step scaled down.
        share = {k: mx.array(_rate(rates, k) / base) for k in self.params} if len(rates) > 1 and base > 0 else {}
        after, state, norm, sound = self._step(grads, self.params, kept, share, max_grad_norm)
        self.optimizer.state = kept
        mx.eval(after, state, norm, sound)  # one wait for all
        if not (math.isfinite(norm.item()) and sound.item()):
            kept["learning_rate"] = before
            if not math.isfinite(norm.item()):
                raise NonFiniteError("gradient", got=f"norm {norm.item()}")
            raise NonFiniteError("weight after the step", got=listed(broken({**after, **dict(_flat(state))})))
        self.params, self.optimizer.state = after, state
        return float(norm.item())

    def fork(self) -> "TrainState":
        """Give a state of the same arrays that can move on without this one."""
        optimizer = copy(self.optimizer)
        optimizer.state = tree_map(lambda array: array, self.optimizer.state)
        return TrainState(self.params, optimizer, self.iteration, deepcopy(self.memory), self.best)

    @property
    def moments(self) -> Params:
        """The optimizer's arrays by name: ``step``, ``NAME/m``, ``NAME/v``."""
        return dict(_flat(self.optimizer.state))

    @cached_property
    def _step(self) -> Callable[..., tuple[Params, dict[str, Any], mx.array, mx.array]]:
        """Clip and take AdamW's step in fused kernels: (grads, params, optimizer state, shares of the rate, largest
        norm) → (params, optimizer state, norm before clipping, whether all of them are finite).
        """

        def step(
            grads: Params, params: Params, state: dict[str, Any], share: Params, max_grad_norm: float
        ) -> tuple[Params, dict[str, Any], mx.array, mx.array]:
            clipped, norm = optim.clip_grad_norm(grads, max_grad_norm)
            self.optimizer.state = state
            after = self.optimizer.apply_gradients(clipped, params)
            if share:
                after = {k: params[k] + share[k] * (after[k] - params[k]) for k in params}
            # A first moment that is not finite shows in the weights; an infinite second one would just stop them. Both
            # are read at once: a product is not finite if one factor is not (0 · ∞ is NaN).
            products = [value * self.optimizer.state[name]["v"] for name, value in after.items()]
            return after, self.optimizer.state, norm, all_finite(products)

        return mx.compile(step)

    def save(self, folder: Path) -> None:
        """Write everything into an empty directory; `align_mlx.checkpoints` makes it durable."""
        for name, arrays in (("params", self.params), ("optimizer", self.moments), ("best", self.best)):
            save_tensors(folder / f"{name}.safetensors", dict(sorted(arrays.items())))
        record = {"iteration": self.iteration, "memory": self.memory}
        (folder / "state.json").write_text(json.dumps(record, allow_nan=False))

    def restore(self, folder: Path) -> None:
        """Become the state that was saved in a directory."""
        record = json.loads((folder / "state.json").read_text())
        params, moments, best = (
            dict(sorted(mx.load(str(folder / f"{name}.safetensors")).items()))  # in files they have no order
            for name in ("params", "optimizer", "best")
        )
        self.params, self.optimizer.state, self.best = params, _nested(moments), best
        mx.eval(self.params, self.optimizer.state, self.best)
        self.iteration, self.memory = record["iteration"], record["memory"]


def _rate(rates: dict[str, float], name: str) -> float:
    """Give the rate of a parameter: that of the first prefix of its name."""
    return next(rate for prefix, rate in rates.items() if name.startswith(prefix))


def _flat(state: dict[str, Any]) -> Iterator[tuple[str, mx.array]]:
    """Yield ``step`` and ``NAME/m``, ``NAME/v``: parameter names hold dots, so a dot cannot separate."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{moment}", array) for moment, array in value.items())
        else:
            yield name, value


def _nested(arrays: dict[str, mx.array]) -> dict[str, Any]:
    """Undo `_flat`."""
    state: dict[str, Any] = {}
    for key, value in arrays.items():
        name, _, moment = key.rpartition("/")
        if name:
            state.setdefault(name, {})[moment] = value
        else:
            state[key] = value
    return state


def warmup(base: float, steps: int) -> Callable[[int], float]:
    """Give the learning rate at update `step` (from 0): linear from base/steps to `base`, then constant."""
    return lambda step: base * min(1.0, (step + 1) / max(1, steps))
