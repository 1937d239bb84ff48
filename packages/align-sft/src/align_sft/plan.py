"""Fitting the training into the memory: its largest micro-batch, tried out."""

from collections.abc import Sequence

from align_mlx.batching import bucket
from align_mlx.chat import Tokens
from align_mlx.compute import memory_bytes
from align_mlx.plan import settle
from align_mlx.resident import Resident
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World
from align_sft.config import TrainConfig
from align_sft.gradient import accumulate, make_gradient


def plan(
    config: TrainConfig,
    resident: Resident,
    scale: float,
    rows: Sequence[Tokens],
    state: TrainState,
    world: World = ALONE,
) -> TrainConfig:
    """Give the settings with everything decided that they leave open, see `align_mlx.plan.settle`.

    Args:
        config: the settings.
        resident: the base.
        scale: the adapter's factor.
        rows: the training rows; the longest counts.
        state: parameters and moments.
        world: the processes of the run.
    """
    longest = max(rows, key=len)

    def learn(count: int) -> None:
        gradient = make_gradient(resident, scale, compiled=config.compile)
        size = min(count, config.batch_size)  # a micro-batch has no more rows, whatever the memory
        _, grads, _ = accumulate(gradient, state.params, [longest] * (2 * size), size)
        state.fork().update(grads, 0.0, config.max_grad_norm)

    limit = memory_bytes(config.memory_limit)
    return settle(config, resident, state, learn, row_tokens=bucket(len(longest)), limit=limit, world=world)
