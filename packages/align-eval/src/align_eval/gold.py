"""The study's judge as a score of single answers: what the answers kept at evaluation points are measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from align_contracts import Artifact
from align_contracts.checks import score_answer

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gold:
    """The judge's own score, where the judge is offline.

    Attributes:
        name: The judge; None where it cannot score the answers that runs keep.
        reason: Why it cannot; None where it can.
        prompts: Prompts that it scores, by prompt_id.
        score: (prompt_id, response) pairs → one score each.
    """

    name: str | None = None
    reason: str | None = None
    prompts: Mapping[str, Row] = field(default_factory=dict)
    score: Callable[[Sequence[tuple[str, str]]], list[float]] = lambda pairs: []

    def of(self, rows: Sequence[Row]) -> dict[str, float]:
        """Scores by prompt_id of those rows {prompt_id, response} whose prompt it scores."""
        pairs = [(row["prompt_id"], row["response"]) for row in rows if row["prompt_id"] in self.prompts]
        return dict(zip((prompt_id for prompt_id, _ in pairs), self.score(pairs), strict=True)) if pairs else {}


def make_gold(judgments: Artifact, prompts: Sequence[Row], most: int) -> Gold:
    """Make the gold score of a study.

    Args:
        judgments: Any judgments of the study; the ledger holds their judge equal.
        prompts: Rows of the validation prompts.
        most: How many prompts a reward model scores at each point; the reference checks cost nothing and take all.

    Returns:
        The score, or one without a name that says why there is none.
    """
    judge = judgments.details.judge
    if judge == "reference":
        return reference_gold(prompts)
    if judge.startswith("reward-model") and most > 0:
        return reward_model_gold(judgments, prompts[:most])
    if judge.startswith("reward-model"):
        return Gold(reason="the kept answers were not scored: --gold-prompts is 0")
    return Gold(reason=f"the judge {judge} is not offline; the kept answers were not judged")


def reference_gold(prompts: Sequence[Row]) -> Gold:
    """The share of a prompt's reference checks that an answer satisfies."""
    known = {row["prompt_id"]: row for row in prompts if row.get("checks")}
    if not known:
        return Gold(reason="the validation prompts carry no reference checks")
    return Gold("reference", None, known, lambda pairs: [score_answer(text, known[i]["checks"]) for i, text in pairs])


def reward_model_gold(judgments: Artifact, prompts: Sequence[Row]) -> Gold:
    """The raw score of the reward model that judged; it is loaded when first asked."""
    known = {row["prompt_id"]: row for row in prompts}
    loaded: list[Any] = []

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        if not loaded:
            from align_eval.judges.reward_model import load_scorer

            loaded.append(load_scorer(judgments.input("reward_model")))
        texts = list(dict.fromkeys(pairs))
        scores = loaded[0].score_texts([known[i]["prompt"] for i, _ in texts], [text for _, text in texts])
        table = dict(zip(texts, scores, strict=True))
        return [float(table[pair]) for pair in pairs]

    return Gold(judgments.details.judge, None, known, score)
