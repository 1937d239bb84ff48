"""Fitting a run into the memory: the largest minibatch pass and the largest rollout that it will see, tried out."""

from typing import TypeVar

import mlx.core as mx

from align_mlx.batching import bucket, pad
from align_mlx.chat import Tokens
from align_mlx.compute import memory_bytes
from align_mlx.plan import settle
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Draw, Prompt, sample
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World
from align_rl.config import RLConfig
from align_rl.loop import accumulate
from align_rl.methods.actor import actor_adapter
from align_rl.methods.base import Experience
from align_rl.methods.make import make_method

Config = TypeVar("Config", bound=RLConfig)


def plan(
    config: Config, resident: Resident, scorer: Scorer, prompts: list[Prompt], state: TrainState, world: World = ALONE
) -> Config:
    """Give the settings with everything decided that they leave open, and arrange the base accordingly.

    Args:
        config: the settings.
        resident: the base.
        scorer: the reward model over it.
        prompts: training prompts; the longest of them counts.
        state: parameters and moments, which stay as they are.
        world: the processes of the run.

    Raises:
        PreflightError: the run does not fit.
    """
    longest = max((prompt.ids for prompt in prompts), key=len)
    tokens = bucket(len(longest) + config.max_response_length)

    def learn(rows: int) -> None:
        now = config.model_copy(update={"token_budget": rows * tokens})
        method = make_method(now, resident, scorer)
        grads, _ = accumulate(
            state.params, full_rows(longest, resident.vocab_size, 2 * rows, now), range(2 * rows), method, now
        )
        state.fork().update(grads, 0.0, config.max_grad_norm)

    answers = getattr(config, "K", 1)

    def decode(rows: int) -> None:
        whole = (longest * (tokens // len(longest) + 1))[: max(1, tokens - 2)]
        same = [Prompt(whole, number) for number in range(rows // answers)]
        actor = actor_adapter(state.params, config)
        sample(
            resident,
            (actor,),
            same,
            draw=Draw(0),
            answers=answers,
            max_new_tokens=2,
            max_rows=rows,
            token_budget=tokens,
        )

    limit = memory_bytes(config.memory_limit)
    return settle(
        config,
        resident,
        state,
        learn,
        row_tokens=tokens,
        limit=limit,
        decode=decode,
        answers=answers,
        world=world,
    )


def full_rows(prompt: tuple[int, ...], vocab_size: int, count: int, config: RLConfig) -> Experience:
    """Make an experience of so many answers of full length, each to a prompt of its own as long as `prompt`."""
    own = [(i % vocab_size, i // vocab_size % vocab_size, *prompt[2:]) for i in range(count)]
    rows = [Tokens(ids[: len(prompt)], (0,) * config.max_response_length) for ids in own]
    batch = pad(rows)
    zeros_BT = mx.zeros_like(batch.mask_BT)
    return Experience(rows, batch, zeros_BT, zeros_BT, zeros_BT, zeros_BT, batch.mask_BT, {})
