"""Convergence: the first evaluation point whose kept answers win 60 % of decided pairs against SFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.algorithms.swap import Outcome, tally
from align_eval.judges.base import TIE_WITHIN
from align_eval.trajectory import Trajectory

REACHED = 0.60
"""The win rate that counts as converged (the study's)."""


def convergence(run: Trajectory) -> dict[str, Any]:
    """Judge the answers kept at each evaluation point against those of iteration 0, the untrained policy.

    Args:
        run: A run with its points, scored by the study's judge if that is offline.

    Returns:
        {iteration, reason, curve}: the iteration or null with the reason, and
        [{iteration, wins, losses, ties, win_rate_decided}] over the evaluation points after 0.
    """
    if run.gold.name is None:
        return _nothing(str(run.gold.reason))
    if run.start is None or not run.start.gold:
        return _nothing("the run kept no answers of iteration 0")
    return reached(win_curve({point.iteration: point.gold for point in run.trained}, run.start.gold))


def win_curve(scores: Mapping[int, Mapping[str, float]], baseline: Mapping[str, float]) -> list[dict[str, Any]]:
    """Win rate of each evaluation point against the baseline's answers.

    Args:
        scores: Score of each answer by prompt_id, by iteration.
        baseline: The score of the baseline's answer by prompt_id; equal scores are a tie.

    Returns:
        One row an iteration, in order; win_rate_decided is null where nothing is decided.
    """
    curve = []
    for iteration in sorted(scores):
        gaps = [score - baseline[key] for key, score in scores[iteration].items() if key in baseline]
        counts = tally(_outcome(gap) for gap in gaps)
        curve.append(
            {
                "iteration": iteration,
                "wins": counts.wins,
                "losses": counts.losses,
                "ties": counts.ties,
                "win_rate_decided": counts.wins / counts.decided if counts.decided else None,
            }
        )
    return curve


def reached(curve: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first point of a curve at or above the threshold.

    Args:
        curve: Rows of `win_curve`.

    Returns:
        {iteration, reason, curve}.
    """
    for row in curve:
        share = row["win_rate_decided"]
        if share is not None and share >= REACHED:
            return {"iteration": row["iteration"], "reason": None, "curve": list(curve)}
    reason = f"no evaluation point reached {100 * REACHED:.0f} % of decided pairs"
    return {"iteration": None, "reason": reason, "curve": list(curve)}


def _outcome(gap: float) -> Outcome:
    if abs(gap) < TIE_WITHIN:
        return "tie"
    return "win" if gap > 0 else "loss"


def _nothing(reason: str) -> dict[str, Any]:
    return {"iteration": None, "reason": reason, "curve": []}
