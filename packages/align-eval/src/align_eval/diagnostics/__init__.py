"""The diagnostics of a study: what a careful reader asks after the win rates. One question a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.diagnostics.bands import convergence_curves
from align_eval.diagnostics.critic import critic
from align_eval.diagnostics.frontier import frontier
from align_eval.diagnostics.length import length
from align_eval.diagnostics.outcomes import categories, inflation, ties
from align_eval.diagnostics.overoptimization import overoptimization
from align_eval.diagnostics.samples import samples
from align_eval.diagnostics.tokens import token_views
from align_eval.study import Study
from align_eval.trajectory import Trajectory

Json = dict[str, Any]

DIGITS = 6
"""Significant digits kept of a diagnostic number: enough to draw and to read."""


def diagnose(
    study: Study,
    runs: Sequence[Json],
    trajectories: Sequence[Trajectory],
    reached: Mapping[str, Json],
    wins: Mapping[str, Mapping[int, float | None]],
    prompts: Mapping[str, Json],
) -> Json:
    """Answer all questions.

    Args:
        study: The runs.
        runs: Their numbers, as `summaries.run_numbers` gives them.
        trajectories: What they kept on their way.
        reached: Result of `convergence.convergence` by label.
        wins: Share of decided pairs won against iteration 0, by label and iteration.
        prompts: Rows of training and validation prompts, by prompt_id.

    Returns:
        The section `diagnostics` of report.json.
    """
    found: Json = rounded(
        {
            "frontier": frontier(trajectories, wins),
            "overoptimization": overoptimization(trajectories),
            "length": length(study),
            "inflation": inflation(runs),
            "ties": ties(study),
            "categories": categories(study),
            "convergence": convergence_curves(trajectories, wins, reached),
            "critic": critic(trajectories),
            "tokens": token_views(trajectories, prompts),
            "samples": samples(study),
        }
    )
    return found


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """A JSON value with every float at some significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return value
