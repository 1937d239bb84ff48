"""How often, and on how many prompts, one method does better than another on the same prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from align_eval.algorithms.bootstrap import Draws
from align_eval.algorithms.mean import Mean, mean_interval

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PairedDifference:
    """First method minus second, prompt by prompt, each averaged over its seeds.

    Attributes:
        mean: Mean difference with Student's interval over prompts: for these trained runs, other prompts.
        better: Prompts on which the first method is ahead.
        equal: Prompts on which they are level.
        worse: Prompts on which the second is ahead.
    """

    mean: Mean
    better: int
    equal: int
    worse: int


def paired_difference(first_SP: Array, second_SP: Array) -> PairedDifference:
    """Difference of two methods on each prompt.

    Args:
        first_SP: Scores (S₁, P) of the first method.
        second_SP: Scores (S₂, P) of the second, the same prompts in the same order.

    Returns:
        The differences, summed up.

    Raises:
        ValueError: If the shapes do not fit.
    """
    first_SP, second_SP = _tables(first_SP, second_SP)
    difference_P = first_SP.mean(axis=0) - second_SP.mean(axis=0)
    # Means over seeds, and over prompts, can be off by rounding alone; level is level.
    difference_P[np.abs(difference_P) < 1e-12] = 0.0
    sign_P = np.sign(difference_P)
    mean = mean_interval(difference_P.tolist())
    if abs(mean.value) < 1e-12:
        mean = replace(mean, value=0.0)
    return PairedDifference(mean, int((sign_P > 0).sum()), int((sign_P == 0).sum()), int((sign_P < 0).sum()))


def superiority(first_SP: Array, second_SP: Array) -> Array:
    """Who is ahead on a prompt, for each pair of runs: 1 the first, ½ level, 0 the second.

    Args:
        first_SP: Scores (S₁, P) of the first method.
        second_SP: Scores (S₂, P) of the second, the same prompts in the same order.

    Returns:
        (S₁, S₂, P). Its mean is the probability of improvement: that a run of the first method beats a run of the
        second on a prompt, level counting half.

    Raises:
        ValueError: If the shapes do not fit.

    Source:
        Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice", section 4.3:
        P(X > Y) averaged over tasks, which are prompts here; Mann & Whitney (1947).
    """
    first_SP, second_SP = _tables(first_SP, second_SP)
    return 0.5 * (1.0 + np.sign(first_SP[:, None] - second_SP[None]))


def improvement_replicates(superiority_SSP: Array, draws: Draws) -> Array:
    """The probability of improvement in each replicate of the bootstrap.

    Args:
        superiority_SSP: As `superiority` gives it.
        draws: Draws for the two methods.

    Returns:
        (B,).
    """
    by_runs_SSB = superiority_SSP @ draws.prompts_PB
    first_SB, second_SB = draws.seeds
    total_B = (by_runs_SSB * first_SB[:, None] * second_SB[None]).sum(axis=(0, 1))
    return np.asarray(total_B / superiority_SSP.size)


def _tables(first_SP: Array, second_SP: Array) -> tuple[Array, Array]:
    first_SP, second_SP = np.asarray(first_SP, dtype=np.float64), np.asarray(second_SP, dtype=np.float64)
    if (
        first_SP.ndim != 2
        or second_SP.ndim != 2
        or first_SP.shape[1] != second_SP.shape[1]
        or not first_SP.size
        or not second_SP.size
    ):
        raise ValueError(
            f"improvement: expected (S₁, P) and (S₂, P) over the same prompts, got {first_SP.shape} and "
            f"{second_SP.shape}"
        )
    return first_SP, second_SP
