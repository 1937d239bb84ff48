"""What every judge is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from align_contracts import Artifact

Choice = Literal["first", "second", "tie", "invalid"]

TIE_WITHIN = 1e-9
"""Scores closer than this are a tie."""


@dataclass(frozen=True)
class Question:
    """Two answers to one prompt, in the order in which the judge sees them.

    Attributes:
        prompt_id: Which prompt.
        prompt: Its text.
        first: The answer shown first.
        second: The answer shown second.
        checks: The prompt's reference checks, if it has some.
    """

    prompt_id: str
    prompt: str
    first: str
    second: str
    checks: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Opinion:
    """What the judge says of one question.

    Attributes:
        choice: The better answer by its place, "tie", or "invalid" for an unusable reply.
        score_first: The first answer's score, from judges that have scores.
        score_second: The second answer's score.
    """

    choice: Choice
    score_first: float | None = None
    score_second: float | None = None


@dataclass(frozen=True)
class JudgeFacts:
    """What a judge says of itself, for the manifest.

    Attributes:
        name: `reference`, `reward-model:NAME` or `openai:MODEL`.
        prompt: The judge's prompt with its places, if it has one.
        model: The API model, if it is one.
        reply_form: How an API model was made to answer; known once it was asked.
        inputs: Artifacts it used, by role.
    """

    name: str
    prompt: str | None = None
    model: str | None = None
    reply_form: str | None = None
    inputs: Mapping[str, Artifact] = field(default_factory=dict)


class Judge(Protocol):
    """A judge."""

    @property
    def facts(self) -> JudgeFacts:
        """What it is; complete once it was asked."""

    def ask(self, questions: Sequence[Question]) -> list[Opinion]:
        """Give one opinion on each question, in order.

        Raises:
            AlignError: The judge cannot judge these questions, or could not finish.
        """

    def forecast(self, questions: Sequence[Question]) -> str:
        """Say what asking these questions would cost, without asking."""


def by_score(first: float, second: float) -> Opinion:
    """Opinion of a judge that scores each answer by itself: the higher score wins, near equality is a tie."""
    if abs(first - second) < TIE_WITHIN:
        return Opinion("tie", first, second)
    return Opinion("first" if first > second else "second", first, second)
