"""The learning rate at each optimizer step."""

import math
from typing import Literal


def learning_rate(
    peak: float, step: int, warmup_steps: int, steps: int, schedule: Literal["constant", "cosine"]
) -> float:
    """Give the learning rate of an optimizer step.

    Linear from peak / warmup_steps to the peak, then constant, or a half cosine that ends at a tenth of the peak on the
    last step (Loshchilov & Hutter, SGDR, arXiv 1608.03983, without restarts).

    Args:
        peak: the highest rate.
        step: steps taken before, from 0.
        warmup_steps: steps of warm-up; 0 for none.
        steps: all steps of the run.
        schedule: what follows the warm-up.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = min(1.0, (step + 1 - warmup_steps) / max(1, steps - warmup_steps))
    return peak * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))
