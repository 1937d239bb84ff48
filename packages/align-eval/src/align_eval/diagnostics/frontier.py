"""The reward–KL frontier: every checkpoint, and which one each selection rule would have published."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from align_contracts.selection import Point, better
from align_eval.trajectory import Checkpoint, Trajectory

Json = dict[str, Any]

RULES = {
    "perplexity": "lowest perplexity under the KL gate",
    "reward": "highest validation reward under the KL gate",
    "last": "the last iteration",
    "lowest_kl": "the lowest KL after training began",
}
"""Rules that the report tries; the first two are those that a run can choose by."""


def frontier(runs: Sequence[Trajectory], win_rates: Mapping[str, Mapping[int, float | None]]) -> Json:
    """Describe every checkpoint and every choice.

    Args:
        runs: The runs.
        win_rates: Win rate of decided pairs against iteration 0, by label and iteration.

    Returns:
        {rules, runs: [{label, method, rule, published, points, choices}]}.
    """
    return {"rules": RULES, "runs": [_run(run, win_rates.get(run.label, {})) for run in runs]}


def choose(rule: str, checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The checkpoint that a rule publishes, of those after iteration 0.

    Args:
        rule: One of `RULES`.
        checkpoints: In order of iteration.

    Returns:
        The checkpoint; None if there is none.
    """
    if not checkpoints:
        return None
    if rule == "last":
        return checkpoints[-1]
    if rule == "lowest_kl":
        return min(checkpoints, key=lambda point: point.facts["kl"])
    best: tuple[Point, Checkpoint] | None = None
    for checkpoint in checkpoints:
        point = _gated(checkpoint)
        if better("perplexity" if rule == "perplexity" else "reward", point, best[0] if best else None):
            best = (point, checkpoint)
    return best[1] if best else None


def _gated(checkpoint: Checkpoint) -> Point:
    facts = checkpoint.facts
    measured = (facts[name] for name in ("kl", "perplexity", "reward_mean", "target_kl"))
    return Point(checkpoint.iteration, *measured)


def _run(run: Trajectory, wins: Mapping[int, float | None]) -> Json:
    selection = run.policy.details.selection
    choices = []
    for rule in RULES:
        if (chosen := choose(rule, run.trained)) is not None:
            described = _facts(chosen, wins)
            choices.append({"rule": rule, "gate_passed": described.pop("passes_gate"), **described})
    return {
        "label": run.label,
        "method": run.method,
        "rule": selection.rule if selection else None,
        "published": run.published.iteration if run.published else None,
        "points": [_facts(point, wins) for point in run.checkpoints],
        "choices": choices,
    }


def _facts(point: Checkpoint, wins: Mapping[int, float | None]) -> Json:
    facts = point.facts
    return {
        "iteration": point.iteration,
        "kl": facts["kl"],
        "root_kl": math.sqrt(max(0.0, facts["kl"])),
        "reward_mean": facts["reward_mean"],
        "perplexity": facts["perplexity"],
        "gold": point.gold_mean,
        "win_rate_decided": wins.get(point.iteration),
        "target_kl": facts["target_kl"],
        "passes_gate": _gated(point).passes,
        "published": bool(facts.get("selected")),
    }
