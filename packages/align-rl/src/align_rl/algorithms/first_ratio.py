"""The first ratio of an iteration is 1: its policy is still the one that sampled.

It breaks silently: log-probs scored by another code path than the update's leave a run that trains, logs plausible
numbers, and is wrong.
"""

from collections.abc import Mapping

import mlx.core as mx

from align_contracts.errors import DivergedError

RATIO_TOLERANCE = {mx.float32: 1e-4, mx.bfloat16: 2e-2}
"""What rounding may do to the first ratio in the mean: batches of another shape add up in another order."""
OUTLIER = 20.0
"""How many times that a single token may be off: one wrong token an answer must not hide in the mean."""


def first_ratio(
    worst: Mapping[str, float], error: float, largest: float, tolerance: float, iteration: int
) -> dict[str, float]:
    """Check |ratio − 1| of an iteration's first minibatch, and give the worst of the run so far.

    The mean decides, and the largest within `OUTLIER` times it: where products round to bf16, one token of thousands
    may be further off.

    Args:
        worst: what this function gave for the iterations before; empty at first.
        error: mean |ratio − 1| over the minibatch's tokens.
        largest: the largest |ratio − 1|.
        tolerance: the mean that rounding may give in the compute dtype.
        iteration: from 0, for the message.

    Returns:
        The certificate's `first_ratio_error`, `first_ratio_error_max` and `ratio_tolerance`.

    Raises:
        DivergedError: one of the two is above its bound.

    Source: the ratio of eq. 6 in PPO, arXiv 1707.06347, is 1 at θ = θ_old.
    """
    if not (error <= tolerance and largest <= OUTLIER * tolerance):
        raise DivergedError(
            f"the first minibatch of iteration {iteration + 1} does not score its answers as the rollout did",
            expected=f"|ratio − 1| ≤ {tolerance:g} in the mean, {OUTLIER * tolerance:g} at most, before any update",
            got=f"{error:.3g} and {largest:.3g}",
            do="nothing was updated; set --compute-dtype float32 if it is rounding",
        )
    return {
        "first_ratio_error": max(worst.get("first_ratio_error", 0.0), error),
        "first_ratio_error_max": max(worst.get("first_ratio_error_max", 0.0), largest),
        "ratio_tolerance": tolerance,
    }
