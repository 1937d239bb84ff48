"""A reward model as judge, for instance one trained on the gold split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from align_contracts import Artifact, open_artifact
from align_contracts.errors import DivergedError
from align_eval.judges.base import JudgeFacts, Opinion, Question, by_score


class Scorer(Protocol):
    """What the judge needs of `align_mlx.reward.Scorer`."""

    def score_texts(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """Give one raw score an answer."""


def load_scorer(artifact: Artifact) -> Scorer:
    """Load the reward model into memory (imports MLX only now)."""
    from align_mlx import reward

    return reward.load_scorer(artifact)


class RewardModelJudge:
    """The higher raw reward wins.

    Args:
        path: A reward_model artifact.
        load: Makes its scorer.
    """

    def __init__(self, path: Path, load: Callable[[Artifact], Scorer] = load_scorer) -> None:
        self.artifact = open_artifact(path, "reward_model")
        self.load = load

    @property
    def facts(self) -> JudgeFacts:
        """The artifact it scores with. The manifest's input record has its digest."""
        return JudgeFacts(f"reward-model:{self.artifact.details.split}", inputs={"reward_model": self.artifact})

    def ask(self, questions: Sequence[Question]) -> list[Opinion]:
        """Give the opinions; an answer that stands in several questions is scored once.

        Args:
            questions: Ordered pairs.

        Returns:
            One opinion each, with raw scores.

        Raises:
            DivergedError: A score is not finite.
        """
        texts = list(dict.fromkeys((q.prompt, answer) for q in questions for answer in (q.first, q.second)))
        scores = self.load(self.artifact).score_texts([p for p, _ in texts], [a for _, a in texts])
        for (prompt, _), score in zip(texts, scores, strict=True):
            if not math.isfinite(score):
                raise DivergedError(f"{self.artifact.name}: a score is not finite", got=f"{score} on {prompt[:60]!r}")
        table = dict(zip(texts, scores, strict=True))
        return [by_score(table[q.prompt, q.first], table[q.prompt, q.second]) for q in questions]

    def forecast(self, questions: Sequence[Question]) -> str:
        """Nothing is paid for."""
        return f"judge {self.facts.name}: {len(questions)} questions, answered on this machine, no cost"
