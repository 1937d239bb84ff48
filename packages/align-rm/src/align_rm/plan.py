"""Fitting the training into the memory: its largest micro-batch, and the answers that set the reward scale."""

from collections.abc import Callable, Sequence

from align_mlx.batching import padded_size
from align_mlx.compute import memory_bytes
from align_mlx.plan import settle
from align_mlx.resident import Resident
from align_mlx.rollout import Draw, Prompt, sample
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World
from align_rm.config import TrainConfig
from align_rm.objective import Gradient, accumulate
from align_rm.pairs import Pair, rows_of


def plan(
    config: TrainConfig,
    resident: Resident,
    make: Callable[[], Gradient],
    pairs: Sequence[Pair],
    state: TrainState,
    world: World = ALONE,
) -> TrainConfig:
    """Give the settings with everything decided that they leave open, see `align_mlx.plan.settle`.

    Args:
        config: the settings.
        resident: the backbone.
        make: gives the gradient anew, compiled for the base as it is arranged.
        pairs: the training pairs; the longest counts.
        state: parameters and moments.
        world: the processes of the run.
    """
    longest = max(pairs, key=lambda pair: pair.width)
    tokens = padded_size(rows_of([longest]))

    def learn(count: int) -> None:
        size = min(count, config.batch_size)
        _, grads = accumulate(make(), state.params, [longest] * (2 * size), size * tokens)
        state.fork().update(grads, 0.0, config.max_grad_norm)

    def decode(rows: int) -> None:
        whole = tuple(i % resident.vocab_size for i in range(max(1, config.max_seq_length - 2)))
        same, at_once = [Prompt(whole, n) for n in range(rows)], config.max_seq_length
        sample(resident, (), same, draw=Draw(0), max_new_tokens=2, max_rows=rows, token_budget=at_once)

    limit = memory_bytes(config.memory_limit)
    return settle(config, resident, state, learn, row_tokens=tokens, limit=limit, decode=decode, world=world)
