"""The runs of one comparison, opened from their judgments and followed back to their policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts import Artifact, open_artifact
from align_contracts.errors import ConfigError, VerificationError

Row = dict[str, Any]

METHOD_ORDER = ("ppo", "grpo", "null", "sft")
"""The order of methods everywhere; differences are first minus second."""


@dataclass(frozen=True)
class Run:
    """One trained policy with its answers and the verdicts on them.

    Attributes:
        method: ppo, grpo or null; sft for an A/A row.
        seed: Training seed; the sampling seed for an A/A row.
        policy: Policy artifact.
        responses: Its answers.
        judgments: The verdicts on them.
        verdicts: Rows of the judgments.
        answers: Rows of the responses.
    """

    method: str
    seed: int
    policy: Artifact
    responses: Artifact
    judgments: Artifact
    verdicts: list[Row]
    answers: list[Row]

    @property
    def label(self) -> str:
        """Short name, such as ``ppo-42``."""
        return f"{self.method}-{self.seed}"

    @property
    def control(self) -> str:
        """``null`` for a control run that did not learn, else ``none``."""
        return str(self.policy.details.control)


@dataclass(frozen=True)
class Study:
    """Everything that the report is made from.

    Attributes:
        runs: Trained runs, by method and seed.
        aa: SFT judged against SFT with other sampling keys; empty if none was given.
        baseline: Responses that all runs are judged against.
        baseline_answers: Their rows.
        sft: The SFT policy.
        reward_model: The reward model that trained the runs.
        dataset: The dataset.
    """

    runs: tuple[Run, ...]
    aa: tuple[Run, ...]
    baseline: Artifact
    baseline_answers: list[Row]
    sft: Artifact
    reward_model: Artifact
    dataset: Artifact

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods present, in the fixed order."""
        return tuple(m for m in METHOD_ORDER if any(run.method == m for run in self.runs))

    def of(self, method: str) -> tuple[Run, ...]:
        """The runs of a method, by seed."""
        return tuple(run for run in self.runs if run.method == method)


def open_run(path: Path) -> Run:
    """Open one judgments artifact and what it was made from.

    Raises:
        ConfigError: The verdicts are imported.
        AlignError: As opening and verifying raise it.
    """
    judgments = open_artifact(path, "judgments")
    if judgments.details.source != "judged":
        what = f"{judgments.name}: imported verdicts come without the policies that a comparison needs"
        raise ConfigError(what, do="Read them with align-eval summarize")
    responses = judgments.input("candidate")
    policy = responses.input("policy")
    seed = responses.details.sampling_seed if policy.details.method == "sft" else policy.details.seed
    if seed is None:
        raise VerificationError(f"{policy.name}: the policy has no seed")
    return Run(
        method=policy.details.method,
        seed=seed,
        policy=policy,
        responses=responses,
        judgments=judgments,
        verdicts=judgments.read_jsonl("verdicts"),
        answers=responses.read_jsonl("responses"),
    )


def require_same_prompts(study: Study) -> None:
    """Refuse runs that answer other prompts: numbers that join answers by prompt would be of different things.

    Args:
        study: The runs and the A/A rows; the order of the prompts is free.

    Raises:
        VerificationError: A run lacks a prompt of the baseline, or has one more.
    """
    wanted = {row["prompt_id"] for row in study.baseline_answers}
    for run in (*study.runs, *study.aa):
        found = {row["prompt_id"] for row in run.answers}
        if found != wanted:
            raise VerificationError(
                f"{run.label} answers other prompts than {study.baseline.name}: no report can compare them",
                got=f"{len(found - wanted)} prompts more and {len(wanted - found)} fewer",
                do="Answer the same prompts with each policy (align-eval respond), and judge again",
            )


def open_study(paths: Sequence[Path]) -> Study:
    """Open all runs of a comparison.

    Args:
        paths: Judgments artifacts in any order.

    Returns:
        The study; what the runs must share is taken from the first one, and the ledger proves it equal.

    Raises:
        ConfigError: There is no trained run, or two of the same method and seed.
        AlignError: As opening and verifying raise it.
    """
    opened = sorted((open_run(path) for path in paths), key=lambda run: (METHOD_ORDER.index(run.method), run.seed))
    labels = [run.label for run in opened]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ConfigError(
            f"several of the judgments are of {', '.join(twice)}",
            expected="one run of each method and seed",
            do="Name each once; variants of a method are compared by align-eval summarize",
        )
    runs = tuple(run for run in opened if run.method != "sft")
    if not runs:
        raise ConfigError("no judgments of a trained run", do="Give the judgments of PPO and GRPO runs")
    first = runs[0]
    baseline = first.judgments.input("baseline")
    return Study(
        runs=runs,
        aa=tuple(run for run in opened if run.method == "sft"),
        baseline=baseline,
        baseline_answers=baseline.read_jsonl("responses"),
        sft=first.policy.input("policy"),
        reward_model=first.policy.input("reward_model"),
        dataset=first.judgments.input("dataset"),
    )
