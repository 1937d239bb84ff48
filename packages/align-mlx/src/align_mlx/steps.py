"""What every supervised loop needs at a step: which rows, which learning rate, and exact accumulation."""

import math
import time
from typing import Any, Literal

import mlx.core as mx
import numpy as np

from align_mlx.adapters import Params
from align_mlx.world import World

Schedule = Literal["constant", "cosine"]


def steps_of(rows: int, size: int, epochs: int, max_steps: int | None = None) -> int:
    """Give the optimizer steps of a run: epochs · ⌈rows / size⌉, at most `max_steps`."""
    steps = epochs * -(-rows // size)
    return steps if max_steps is None else min(steps, max_steps)


def rows_of(step: int, rows: int, size: int, seed: int) -> list[int]:
    """Give the row numbers of a step's batch; the order of an epoch depends on seed and epoch alone.

    Args:
        step: optimizer steps taken before, from 0; the epoch follows from it.
        rows: rows of the data.
        size: rows of a batch; an epoch's last batch may be smaller.
        seed: the run's seed.
    """
    epoch, place = divmod(step, -(-rows // size))
    key = mx.random.split(mx.random.key(seed), epoch + 2)[epoch + 1]
    order: list[int] = np.array(mx.random.permutation(rows, key=key)).tolist()
    return order[place * size : (place + 1) * size]


def spent(memory: dict[str, Any], began: float) -> dict[str, float]:
    """Add what a step took to the memory of a run, and give it for the step's row of the log.

    Args:
        memory: `seconds`, the sum over all steps, and `peak_memory_bytes`, their largest; both are moved on.
        began: what `time.monotonic` said when the step began.

    Returns:
        seconds of this step, and the run's peak_memory_bytes so far.
    """
    seconds = time.monotonic() - began
    memory["seconds"] += seconds
    memory["peak_memory_bytes"] = max(memory["peak_memory_bytes"], mx.get_peak_memory())
    return {"seconds": round(seconds, 4), "peak_memory_bytes": memory["peak_memory_bytes"]}


def learning_rate(peak: float, step: int, warmup_steps: int, steps: int, schedule: Schedule) -> float:
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


def add(total: Params | None, part: Params) -> Params:
    """Add a micro-batch's gradients to the sum so far (None: nothing yet)."""
    return part if total is None else {name: total[name] + part[name] for name in total}


def joined(world: World, loss: float, grads: Params | None, params: Params) -> tuple[float, Params]:
    """Give the sums of loss and gradients over all processes.

    Args:
        world: the processes.
        loss, grads: this one's sums; None where it had no rows.
        params: what the gradients are of.
    """
    return world.sums("loss", {"loss": loss})["loss"], world.total(grads or {}, params)


def scale(grads: Params, factor: float) -> Params:
    """Give gradients times a factor."""
    return {name: factor * value for name, value in grads.items()}
