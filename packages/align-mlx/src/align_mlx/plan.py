"""How a run's work is cut so that it fits the memory: tried on this machine, then frozen.

Three cuts change memory and speed and, but for rounding, nothing else: the padded tokens of one pass, what blocks keep
for the backward pass (`ARRANGEMENTS`), and how many answers are decoded at a time. A plan is
found by doing the work at its largest with one row, then with more, and by reading MLX's own peak. Nothing is assumed
about an architecture or a backend.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mlx.core as mx

from align_contracts import signals
from align_contracts.console import left_open
from align_contracts.errors import PreflightError
from align_contracts.space import amount
from align_mlx.compute import pass_tokens
from align_mlx.progress import doing
from align_mlx.recompute import keep_blocks, recompute_blocks
from align_mlx.resident import Resident
from align_mlx.settings import PassSettings
from align_mlx.softmax import BLOCKS, SMALL_BLOCKS
from align_mlx.train_state import TrainState
from align_mlx.world import ALONE, World

Config = TypeVar("Config", bound=PassSettings)

PLANNED = ("token_budget", "gradient_checkpointing", "rollout_rows")
"""The settings that a plan decides."""
MOST_ROWS = 128
"""Answers decoded at a time, at most."""
AIM = 0.85
"""The share of the limit that a trial may take: a run of many passes is a few percent above one of two."""
ENOUGH = 4
"""Rows of a pass that an arrangement of more memory must have room for."""
ARRANGEMENTS = ((False, False), (True, False), (True, True))
"""Whether blocks are computed again, and in small cuts: the fastest first, the one of the least memory last."""
SMALL = "small_cuts"
"""The plan's name for the second: no setting, but kept in the state like the settings."""

Work = Callable[[int], None]
"""Does some work for a number of rows, each as long as any will be, and waits for it."""


def settle(
    config: Config,
    resident: Resident,
    state: TrainState,
    learn: Work,
    *,
    row_tokens: int,
    limit: int,
    decode: Work | None = None,
    answers: int = 1,
    world: World = ALONE,
) -> Config:
    """Give the settings with everything decided that they leave open, and arrange the base for them.

    What is decided stays in the state's memory: a run that is continued goes on with it, on whatever machine.

    Args:
        config: the settings.
        resident: the base; everything else that stays in memory is there too.
        state: parameters and moments, which stay as they are.
        learn: takes a gradient of that many rows of `row_tokens` in one pass, and an optimizer step with it.
        row_tokens: padded tokens of the longest row.
        limit: bytes that MLX may use.
        decode: decodes a token for that many rows whose keys and values are as long as they will get; None: nothing
            is sampled.
        answers: answers to one prompt, which stay together.
        world: the processes of the run; all take the plan of the one with the least memory.

    Raises:
        PreflightError: the work does not fit.
    """
    if "plan" not in state.memory:
        doing("trying what fits the memory", aloud=True)
        given = {name: getattr(config, name) for name in PLANNED if hasattr(config, name)}
        state.memory["plan"] = {**given, SMALL: False}
        if config.memory_limit is not None or left_open(config):
            state.memory["plan"] |= plan_passes(config, resident, learn, row_tokens, limit)
            if decode is not None:
                state.memory["plan"]["rollout_rows"] = plan_rows(config, decode, limit, answers)
        state.memory["plan"] = smallest(world.gather("plan", state.memory["plan"]))
    plan = dict(state.memory["plan"])
    arrange(resident, bool(plan["gradient_checkpointing"]), plan.pop(SMALL, True))
    return config.model_copy(update=plan)


def smallest(plans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Give the plan that fits every process: the fewest tokens and rows, and the least memory that one needs."""
    if len(plans) == 1:
        return plans[0]
    frugal = ("gradient_checkpointing", SMALL)
    return {name: (any if name in frugal else min)(p[name] for p in plans) for name in plans[0]}


def arrange(resident: Resident, gradient_checkpointing: bool, small_cuts: bool) -> None:
    """Let a base's blocks keep their insides or compute them again, if so then all at once or in small cuts."""
    keep_blocks(resident.model)
    if gradient_checkpointing:
        recompute_blocks(resident.model, *(() if small_cuts else (None,)))
    resident.blocks = SMALL_BLOCKS if gradient_checkpointing and small_cuts else BLOCKS


def plan_passes(config: PassSettings, resident: Resident, learn: Work, row_tokens: int, limit: int) -> dict[str, Any]:
    """Choose an arrangement, and `token_budget` where it is left open; see `settle`.

    The first arrangement that has room for `ENOUGH` rows (or the whole budget) is taken, the last one otherwise.
    """
    asked, aim = config.token_budget, int(AIM * limit)
    most = max(1, (asked or pass_tokens()) // row_tokens)
    for again, small in [a for a in ARRANGEMENTS if config.gradient_checkpointing in (None, a[0])]:
        arrange(resident, again, small)
        rows, peak = (most, peak_of(learn, most)) if asked else largest(learn, most, aim)
        if peak <= aim and rows >= min(most, ENOUGH):
            break
    if peak > limit:
        raise does_not_fit(f"a training pass of {rows * row_tokens} tokens", peak, limit)
    return {"token_budget": asked or rows * row_tokens, "gradient_checkpointing": again, SMALL: small}


def plan_rows(config: Any, decode: Work, limit: int, answers: int) -> int:
    """Choose `rollout_rows` where it is left open; see `settle`."""
    asked = int(config.rollout_rows)
    most = max(1, (asked or MOST_ROWS) // answers)
    work: Work = lambda prompts: decode(prompts * answers)  # noqa: E731
    prompts, peak = (most, peak_of(work, most)) if asked else largest(work, most, int(AIM * limit))
    if peak > limit:
        raise does_not_fit(f"decoding {prompts * answers} answers at a time", peak, limit)
    return asked or prompts * answers


def largest(work: Work, most: int, limit: int) -> tuple[int, int]:
    """Find the largest n ≤ `most` whose work peaks within a limit; the peak is about affine in n.

    Returns:
        n and its peak in bytes; 1 where not even that fits.
    """
    one = peak_of(work, 1)
    if one > limit or most == 1:
        return 1, one
    two = peak_of(work, 2)
    if two > limit:
        return 1, one
    n = min(most, 2 + (limit - two) // max(1, two - one))
    peak = two if n == 2 else peak_of(work, n)
    while peak > limit:  # not quite affine
        n -= max(1, n // 8)
        peak = peak_of(work, n)
    return n, peak


def peak_of(work: Work, n: int) -> int:
    """Give MLX's peak in bytes during some work, what was there before counted."""
    signals.check()
    mx.clear_cache()
    mx.reset_peak_memory()
    work(n)
    return mx.get_peak_memory()


def does_not_fit(what: str, needed: int, limit: int) -> PreflightError:
    """Describe work that is larger than the memory."""
    return PreflightError(
        f"{what} does not fit the memory",
        expected=f"at most {amount(limit)} (--memory-limit)",
        got=amount(needed),
        do="raise --memory-limit, lower the length limits, or leave --token-budget and --gradient-checkpointing open",
    )
