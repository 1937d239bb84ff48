"""The offline judge: counts which of the prompt's reference checks an answer satisfies."""

from __future__ import annotations

from collections.abc import Sequence

from align_contracts.checks import score_answer
from align_contracts.errors import VerificationError
from align_eval.judges.base import JudgeFacts, Opinion, Question, by_score


class ReferenceJudge:
    """Scores both answers by the prompt's checks; it cannot favour a place."""

    facts = JudgeFacts("reference")

    def ask(self, questions: Sequence[Question]) -> list[Opinion]:
        """Give the opinions.

        Args:
            questions: Ordered pairs whose prompts carry checks.

        Returns:
            One opinion each, with scores in [0, 1].

        Raises:
            VerificationError: A prompt carries no checks.
        """
        opinions = []
        for question in questions:
            if not question.checks:
                raise VerificationError(
                    f"prompt {question.prompt_id!r} carries no reference checks",
                    do="Judge this dataset with --judge reward-model:PATH or openai:MODEL",
                )
            opinions.append(
                by_score(score_answer(question.first, question.checks), score_answer(question.second, question.checks))
            )
        return opinions

    def forecast(self, questions: Sequence[Question]) -> str:
        """Nothing is paid for."""
        return f"judge {self.facts.name}: {len(questions)} questions, answered on this machine, no cost"
