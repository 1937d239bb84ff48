"""From a source's raw rows to `Row`: what cannot be learned from is dropped, and counted by reason."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from align_data.rows import Origin, Row, normalise

BETTER, WORSE = 1.0, 0.0
"""Scores of the answers where the source has none."""

REASONS: dict[str, str] = {
    "malformed": "a prompt or answer is neither text nor a list of chat messages",
    "multi_turn": "the conversation is not one user message and one answer",
    "prompt_mismatch": "the conversation's question is not the row's prompt",
    "empty_prompt": "the prompt is empty",
    "empty_answer": "an answer is empty",
    "no_score": "a score is missing or not a finite number",
    "identical_answers": "both answers are the same text",
    "equal_scores": "both answers have the same score",
    "inverted_scores": "the rejected answer has the higher score",
    "duplicate_row": "the same prompt, chosen and rejected answer were already read",
}
"""Why a row is dropped, in the order of the checks. A row counts once, under the first that applies."""


class Dropped(Exception):  # noqa: N818 - a decision about one row, not an error
    """A row is left out; `reason` is a key of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


@dataclass(slots=True)
class Cleaned:
    """What cleaning kept and what it dropped.

    Attributes:
        rows: the kept rows, in the order of the source.
        read_by_part: how many rows came in, for each part of the source.
        dropped: rows left out, by reason.
    """

    rows: list[Row] = field(default_factory=list)
    read_by_part: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def read(self) -> int:
        """How many rows came in."""
        return self.read_by_part.total()


def clean(raw_rows: Iterable[tuple[Origin, Mapping[str, Any]]], *, scored: bool = True) -> Cleaned:
    """Turn raw rows into clean ones.

    Args:
        raw_rows: pairs of the part of the source and the row as read (columns of ultrafeedback_binarized, or of a
            preference dataset of TRL).
        scored: whether the rows have scores; otherwise they are `BETTER` and `WORSE`.

    Returns:
        Kept rows, and counts of the dropped ones.
    """
    result = Cleaned()
    seen: set[tuple[str, str, str]] = set()
    for origin, raw in raw_rows:
        result.read_by_part[origin] += 1
        try:
            row = parse_row(raw, origin, scored=scored)
            identity = (normalise(row.prompt), row.chosen, row.rejected)
            if identity in seen:
                raise Dropped("duplicate_row")
        except Dropped as decision:
            result.dropped[decision.reason] += 1
            continue
        seen.add(identity)
        result.rows.append(row)
    return result


def parse_row(raw: Mapping[str, Any], origin: Origin = "train", *, scored: bool = True) -> Row:
    """Read one raw row.

    `prompt` is the question itself or a chat of one message. `chosen` and `rejected` are each the answer itself, a chat
    of the answer alone, or a chat of question and answer; the last kind needs no `prompt`.

    Args:
        raw: the row as read.
        origin: the part of the source it comes from.
        scored: whether it has scores.

    Returns:
        The clean row.

    Raises:
        Dropped: when the row cannot be used; says why.
    """
    prompt = _prompt(raw)
    chosen, rejected = (_answer(raw.get(name), prompt) for name in ("chosen", "rejected"))
    if not prompt:
        raise Dropped("empty_prompt")
    if not (chosen and rejected):
        raise Dropped("empty_answer")
    scores = (_score(raw.get(name)) for name in ("score_chosen", "score_rejected")) if scored else (BETTER, WORSE)
    score_chosen, score_rejected = scores
    if chosen.split() == rejected.split():
        raise Dropped("identical_answers")
    if score_chosen == score_rejected:
        raise Dropped("equal_scores")
    if score_chosen < score_rejected:
        raise Dropped("inverted_scores")
    prompt_id = raw.get("prompt_id")
    return Row(
        prompt=prompt,
        prompt_id="" if prompt_id is None else _text(str(prompt_id)),
        chosen=chosen,
        rejected=rejected,
        score_chosen=score_chosen,
        score_rejected=score_rejected,
        origin=origin,
        category=raw.get("category"),
        checks=_checks(raw.get("checks")),
    )


def _text(value: Any) -> str:
    """Text without outer blanks; what cannot be written as UTF-8 (a lone surrogate) is malformed."""
    if not isinstance(value, str):
        raise Dropped("malformed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Dropped("malformed") from None
    return value.strip()


def _turns(value: Any) -> list[tuple[Any, Any]]:
    """Role and content of each message of a chat."""
    if not isinstance(value, list | tuple) or not all(isinstance(turn, Mapping) for turn in value):
        raise Dropped("malformed")
    return [(turn.get("role"), turn.get("content")) for turn in value]


def _prompt(raw: Mapping[str, Any]) -> str:
    """The question: a text, a chat of one message, or what the chosen chat begins with."""
    value = raw.get("prompt")
    if isinstance(value, str):
        return _text(value)
    turns = _turns(value) if "prompt" in raw else _turns(raw.get("chosen"))[:-1]
    if [role for role, _ in turns] != ["user"]:
        raise Dropped("multi_turn" if turns else "empty_prompt")
    return _text(turns[0][1])


def _answer(value: Any, prompt: str) -> str:
    """The assistant's text of a plain string, of a chat of the answer alone, or of a chat that asks `prompt`."""
    if isinstance(value, str):
        return _text(value)
    turns = _turns(value)
    roles = [role for role, _ in turns]
    if roles == ["assistant"]:
        return _text(turns[0][1])
    if roles != ["user", "assistant"]:
        raise Dropped("multi_turn" if turns else "empty_answer")
    question, answer = (_text(content) for _, content in turns)
    if normalise(question) != normalise(prompt):
        raise Dropped("prompt_mismatch")
    return answer


def _checks(value: Any) -> Any:
    """Reference checks, also as the JSON text in which they are exported."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            raise Dropped("malformed") from None
    return value


def _score(value: Any) -> float:
    """A finite score."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Dropped("no_score")
    return float(value)
