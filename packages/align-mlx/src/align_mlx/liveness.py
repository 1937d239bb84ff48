"""Gradient liveness: every trainable tensor gets a gradient within three live updates, or the run stops.

A tensor that the loss does not reach leaves a run that trains, logs plausible numbers, and is wrong. A live update is
one at a non-zero learning rate on a batch that teaches something. A fresh LoRA has no gradient on A while B is 0, and
behind a zero head for one update more, hence three. Weight decay does not count: it moves dead tensors too.

What has been seen is kept in `TrainState.memory`, so that a resumed run certifies the same as an undisturbed one. Once
all tensors are alive nothing is computed any more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import mlx.core as mx

from align_contracts.details import Certificate
from align_contracts.errors import DivergedError
from align_mlx.adapters import Params
from align_mlx.train_state import TrainState

LIVE_UPDATES = 3
"""Live updates within which a tensor must have had a gradient."""
SHOWN = 4
"""How many dead tensors a message names."""


@dataclass(frozen=True)
class Liveness:
    """Which tensors have had a gradient so far; plain numbers and names.

    Attributes:
        tensors: how many are trained.
        waiting: those without a gradient so far, with the live updates that each has been through.
        live_updates: the most live updates that a tensor took to its first gradient, or has waited for.
    """

    tensors: int
    waiting: Mapping[str, int]
    live_updates: int = 0

    @classmethod
    def begin(cls, names: Iterable[str]) -> "Liveness":
        """Let every tensor wait."""
        waiting = dict.fromkeys(names, 0)
        return cls(len(waiting), waiting)

    def after(self, grads: Params, learning_rate: float | Mapping[str, float]) -> "Liveness":
        """Take in the gradients of a live update.

        Args:
            grads: one gradient for every trainable tensor, before clipping and weight decay.
            learning_rate: one rate, or rates by prefix of the name, the first match counts; at rate 0 a tensor just
                waits.

        Raises:
            DivergedError: a tensor has been without a gradient for `LIVE_UPDATES` live updates.
        """
        rates = learning_rate if isinstance(learning_rate, Mapping) else {"": learning_rate}
        moving = [name for name in self.waiting if next(r for p, r in rates.items() if name.startswith(p)) > 0]
        if not moving:
            return self
        alive: list[bool] = mx.stack([mx.any(grads[name] != 0) for name in moving]).tolist()  # read back in one go
        waited = {name: self.waiting[name] + 1 for name in moving}
        woken = {name for name, lives in zip(moving, alive, strict=True) if lives}
        waiting = {name: waited.get(name, n) for name, n in self.waiting.items() if name not in woken}
        require_none(sorted(name for name, n in waiting.items() if n >= LIVE_UPDATES), self.tensors)
        return Liveness(self.tensors, waiting, max(self.live_updates, *waited.values()))


def require_none(dead: list[str], tensors: int) -> None:
    """Raise DivergedError where there are dead tensors, naming them."""
    if dead:
        more = f" and {len(dead) - SHOWN} more" if len(dead) > SHOWN else ""
        raise DivergedError(
            f"no gradient has reached {len(dead)} of {tensors} trainable tensors",
            expected=f"a non-zero gradient within {LIVE_UPDATES} live updates",
            got=f"none for {', '.join(dead[:SHOWN])}{more}",
            do="The loss does not reach them: a defect of the loss or of the adapters; nothing was published",
        )


def seen(state: TrainState) -> Liveness:
    """Give what a run has seen so far."""
    kept = state.memory.get("liveness")
    return Liveness(**kept) if kept else Liveness.begin(state.params)


def watch(state: TrainState, grads: Params, learning_rate: float | Mapping[str, float]) -> None:
    """Take in the gradients of a live update that `state` is about to take; see `Liveness.after`."""
    before = seen(state)
    if before.waiting:
        state.memory["liveness"] = asdict(before.after(grads, learning_rate))


def certificate(state: TrainState, *, control: str = "none", ratio: Mapping[str, float] | None = None) -> Certificate:
    """Certify what a finished run has proved.

    Args:
        state: its last state.
        control: ``"null"`` where nothing was to move.
        ratio: the first-ratio fields of a `Certificate`, of a run that has them.
    """
    found = seen(state)
    verdict = "null control" if control == "null" else "incomplete" if found.waiting else "complete"
    fields = {
        "verdict": verdict,
        "tensors": found.tensors,
        "alive": found.tensors - len(found.waiting),
        "waiting": tuple(sorted(found.waiting)),
        "live_updates": found.live_updates,
    }
    return Certificate.model_validate({**fields, **(ratio or {})})


def sentence(proved: Certificate) -> str:
    """Say a certificate in one line."""
    after = f"{proved.live_updates} live update" + ("" if proved.live_updates == 1 else "s")
    text = {
        "complete": f"all {proved.tensors} trainable tensors had a gradient within {after}",
        "incomplete": f"note: {len(proved.waiting)} of {proved.tensors} trainable tensors had no gradient yet after "
        f"{after}; the run ended before its proof was complete",
        "null control": f"null control: at learning rate 0 none of {proved.tensors} tensors is asked for a gradient",
    }[proved.verdict]
    if proved.first_ratio_error_max is not None:
        text += f"; first ratio off by at most {proved.first_ratio_error_max:.1g}"
    return text
