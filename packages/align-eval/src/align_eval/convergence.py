"""Convergence: the first evaluation point whose stored answers win 60 % of decided pairs against SFT."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from align_contracts import Artifact
from align_contracts.checks import score_answer
from align_eval.algorithms.swap import Outcome, tally
from align_eval.judges.base import TIE_WITHIN

REACHED = 0.60
"""The win rate that counts as converged (the study's)."""

_ROLE = re.compile(r"eval_(\d+)_responses")

Score = Callable[[str, str], float]
"""(prompt_id, response) → score."""


def convergence(policy: Artifact, prompts: Sequence[Mapping[str, Any]], judge: str) -> dict[str, Any]:
    """Judge the answers stored at each evaluation point against those of iteration 0, the untrained policy.

    Args:
        policy: A PPO or GRPO policy artifact with its evaluation points.
        prompts: Rows of the validation prompts.
        judge: The study's judge; only the offline `reference` judge can do this after the run.

    Returns:
        {iteration, reason, curve}: the iteration or null with the reason, and
        [{iteration, wins, losses, ties, win_rate_decided}] over the evaluation points after 0.
    """
    if judge != "reference":
        return _nothing(f"the judge {judge} is not offline; the stored answers were not judged")
    checks = {row["prompt_id"]: row["checks"] for row in prompts if row.get("checks")}
    if not checks:
        return _nothing("the validation prompts carry no reference checks")
    roles = [record.role for record in policy.manifest.files]
    points = {int(found.group(1)): role for role in roles if (found := _ROLE.fullmatch(role))}
    if 0 not in points:
        return _nothing("the run kept no answers of iteration 0")
    answers = {step: policy.read_jsonl(role) for step, role in sorted(points.items())}
    baseline = {row["prompt_id"]: row["response"] for row in answers.pop(0) if row["prompt_id"] in checks}
    curve = win_curve(answers, baseline, lambda prompt_id, text: score_answer(text, checks[prompt_id]))
    return reached(curve)


def win_curve(
    answers: Mapping[int, Sequence[Mapping[str, Any]]], baseline: Mapping[str, str], score: Score
) -> list[dict[str, Any]]:
    """Win rate of each evaluation point against the baseline's answers.

    Args:
        answers: Rows {prompt_id, response} by iteration.
        baseline: The baseline's response by prompt_id.
        score: Scores one answer; equal scores are a tie.

    Returns:
        One row an iteration, in order; win_rate_decided is null where nothing is decided.
    """
    base = {prompt_id: score(prompt_id, text) for prompt_id, text in baseline.items()}
    curve = []
    for iteration in sorted(answers):
        rows = [row for row in answers[iteration] if row["prompt_id"] in base]
        gaps = [score(row["prompt_id"], row["response"]) - base[row["prompt_id"]] for row in rows]
        counts = tally(_outcome(gap) for gap in gaps)
        share = counts.wins / counts.decided if counts.decided else None
        curve.append(
            {
                "iteration": iteration,
                "wins": counts.wins,
                "losses": counts.losses,
                "ties": counts.ties,
                "win_rate_decided": share,
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
