"""What a run proves about itself while it runs: the first ratio is 1, and every trainable tensor gets a gradient.

Both are cheap, and both break silently: log-probs scored by another code path than the update's, and a tensor that
the loss does not reach, leave a run that trains, logs plausible numbers, and is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import mlx.core as mx

from align_contracts.errors import DivergedError

RATIO_TOLERANCE = {mx.float32: 1e-4, mx.bfloat16: 2e-2}
"""What rounding may do to the first ratio, by compute dtype: batches of another shape add up in another order."""
LIVE_UPDATES = 3
"""A fresh LoRA has no gradient on A while B is 0, and behind a zero value head for one update more."""


@dataclass(frozen=True)
class Proof:
    """What has been seen so far; plain numbers and names, so that a resumed run goes on with it.

    Attributes:
        first_ratio_error: mean |ratio − 1| over the tokens of an iteration's first minibatch, the worst so far.
        first_ratio_error_max: the same for the largest |ratio − 1| of a token.
        live_updates: updates that could have moved something: advantages not all 0, learning rate not 0.
        alive: how many tensors have had a non-zero gradient.
        waiting: the others, with the live updates that each has been without one.
    """

    first_ratio_error: float = 0.0
    first_ratio_error_max: float = 0.0
    live_updates: int = 0
    alive: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)

    def ratio(self, error: float, largest: float, tolerance: float, iteration: int) -> "Proof":
        """Take in |ratio − 1| of an iteration's first minibatch, whose policy is still the one that sampled.

        The mean decides: where products round to bf16 or TF32, one token of thousands may be further off.

        Args:
            error: mean |ratio − 1| over the minibatch's tokens.
            largest: the largest |ratio − 1|, kept for the record.
            tolerance: the mean that rounding may give in the compute dtype.
            iteration: from 0, for the message.

        Raises:
            DivergedError: the error is above the tolerance.

        Source: the ratio of eq. 6 in PPO, arXiv 1707.06347, is 1 at θ = θ_old.
        """
        if not error <= tolerance:
            raise DivergedError(
                f"the first minibatch of iteration {iteration + 1} does not score its answers as the rollout did",
                expected=f"|ratio − 1| ≤ {tolerance:g} before any update",
                got=f"{error:.3g}",
                do="nothing was updated; set --compute-dtype float32 if it is rounding",
            )
        return replace(
            self,
            first_ratio_error=max(self.first_ratio_error, error),
            first_ratio_error_max=max(self.first_ratio_error_max, largest),
        )

    def gradients(self, grads: Mapping[str, mx.array], rates: Mapping[str, float]) -> "Proof":
        """Take in the gradients of an update whose advantages were not all 0.

        Args:
            grads: one gradient for every trainable tensor, before weight decay.
            rates: learning rates by prefix of the name, the first match counts; a tensor at rate 0 just waits.

        Raises:
            DivergedError: a tensor has had no gradient in `LIVE_UPDATES` updates at a non-zero rate.
        """
        waiting = dict(self.waiting) if self.alive or self.waiting else dict.fromkeys(grads, 0)
        moving = [name for name in waiting if next(r for p, r in rates.items() if name.startswith(p)) > 0]
        if not any(rates.values()):
            return self
        for name in moving:
            if mx.any(grads[name] != 0).item():
                del waiting[name]
            else:
                waiting[name] += 1
        dead = sorted(name for name, updates in waiting.items() if updates >= LIVE_UPDATES)
        if dead:
            raise DivergedError(
                f"no gradient has reached {len(dead)} of {len(grads)} trainable tensors",
                expected=f"a non-zero gradient within {LIVE_UPDATES} updates",
                got=f"none for {dead[0]}",
                do="this is a defect of the loss or the adapters, not of the settings",
            )
        return replace(self, live_updates=self.live_updates + 1, alive=len(grads) - len(waiting), waiting=waiting)
