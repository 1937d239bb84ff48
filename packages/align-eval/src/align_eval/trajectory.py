"""What a run kept on its way: its evaluation points, scored, and what it had spent at each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from align_contracts import Artifact
from align_eval.gold import Gold

Row = dict[str, Any]

_ROLE = re.compile(r"eval_(\d+)_responses")

COSTS = ("iterations", "samples", "tokens", "equal_seconds")
"""What runs can be made equal in: iterations, answers drawn, response tokens drawn, seconds without evaluation."""


@dataclass(frozen=True)
class Checkpoint:
    """One evaluation point.

    Attributes:
        iteration: Where it was taken; 0 is the untrained policy.
        facts: The run's own record of it: kl (nats a response token), reward_mean, perplexity, target_kl, selected …
        rewards: Raw reward of each kept answer, by prompt_id.
        gold: Score of each kept answer by the study's judge, by prompt_id; empty if there is none.
        read: Reads the kept answers again, with their per-token arrays: too many to hold for a whole study.
    """

    iteration: int
    facts: Row
    rewards: Mapping[str, float]
    gold: Mapping[str, float]
    read: Callable[[], list[Row]]

    @property
    def gold_mean(self) -> float | None:
        """Mean gold score."""
        return sum(self.gold.values()) / len(self.gold) if self.gold else None


@dataclass(frozen=True)
class Trajectory:
    """A run from its first to its last evaluation point.

    Attributes:
        label: The run, ``ppo-42``.
        method: Its method.
        policy: Its artifact.
        checkpoints: Evaluation points, in order.
        log: One row an iteration.
        gold: What the answers were scored with.
    """

    label: str
    method: str
    policy: Artifact
    checkpoints: tuple[Checkpoint, ...]
    log: tuple[Row, ...]
    gold: Gold

    @property
    def trained(self) -> tuple[Checkpoint, ...]:
        """Evaluation points after iteration 0."""
        return tuple(point for point in self.checkpoints if point.iteration > 0)

    @property
    def start(self) -> Checkpoint | None:
        """The point at iteration 0: the untrained policy."""
        return next((point for point in self.checkpoints if point.iteration == 0), None)

    @property
    def published(self) -> Checkpoint | None:
        """The point whose policy the artifact publishes."""
        return next((point for point in self.checkpoints if point.facts.get("selected")), None)

    @cached_property
    def spent(self) -> dict[str, list[float]]:
        """What had been spent at each checkpoint, by the names of `COSTS`; no list where the log does not tell."""
        found = {"iterations": [float(point.iteration) for point in self.checkpoints]}
        for name, cost in (("samples", _count("responses")), ("tokens", _count("response_tokens"))):
            found[name] = self._until(cost)
        found["equal_seconds"] = self._until(_training_seconds)
        return {name: values for name, values in found.items() if values and values[-1] > 0}

    def _until(self, cost: Any) -> list[float]:
        costs = [(row["iteration"], cost(row)) for row in self.log]
        if not costs or any(value is None for _, value in costs):
            return []
        return [sum(value for i, value in costs if i <= point.iteration) for point in self.checkpoints]


def read_trajectory(label: str, policy: Artifact, gold: Gold) -> Trajectory:
    """Read what a run kept.

    Args:
        label: Its label.
        policy: A PPO or GRPO policy artifact.
        gold: Scores the kept answers.

    Returns:
        The trajectory; a run that kept no answers has checkpoints without them.
    """
    roles = [record.role for record in policy.manifest.files]
    kept = {int(found.group(1)): role for role in roles if (found := _ROLE.fullmatch(role))}
    points = []
    for facts in policy.read_jsonl("curve"):
        read = partial(_rows, policy, kept.get(facts["iteration"]))
        rows = read()
        rewards = {row["prompt_id"]: row["reward"] for row in rows if row.get("reward") is not None}
        points.append(Checkpoint(facts["iteration"], facts, rewards, gold.of(rows), read))
    log = tuple(policy.read_jsonl("log")) if "log" in roles else ()
    return Trajectory(label, policy.details.method, policy, tuple(points), log, gold)


def _rows(policy: Artifact, role: str | None) -> list[Row]:
    return policy.read_jsonl(role) if role else []


def methods_of(runs: Sequence[Trajectory]) -> dict[str, list[Trajectory]]:
    """Trajectories by method, in order of appearance."""
    found: dict[str, list[Trajectory]] = {}
    for run in runs:
        found.setdefault(run.method, []).append(run)
    return found


def _count(name: str) -> Any:
    return lambda row: row.get(name)


def _training_seconds(row: Row) -> float | None:
    """Seconds of an iteration without its evaluation, which a longer run merely has more of."""
    seconds = row.get("seconds")
    return None if seconds is None else seconds - row.get("phases", {}).get("eval", 0.0)
