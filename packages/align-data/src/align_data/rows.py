"""The two records the stage works on: a clean preference row, and a prompt with all of its rows."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Origin = Literal["train", "test"]
"""Which part of the source a row was read from: its training split or its own held-out split."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clean preference: two different answers to one prompt, the better one first.

    Attributes:
        prompt: the user's text, outer blanks removed.
        prompt_id: the source's identifier, or "" when it has none.
        chosen: the preferred answer.
        rejected: the other answer.
        score_chosen: the source's score of the preferred answer (UltraFeedback: 1 to 10).
        score_rejected: the source's score of the other answer, lower than `score_chosen`.
        origin: the part of the source the row comes from.
        category: the source's own category, or None when the rule of `categories` decides.
        checks: reference checks of the prompt (see `align_contracts.checks`), or None.
    """

    prompt: str
    prompt_id: str
    chosen: str
    rejected: str
    score_chosen: float
    score_rejected: float
    origin: Origin = "train"
    category: str | None = None
    checks: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and every row that asks it: the unit that is sampled and split.

    Attributes:
        key: the normalised text; two rows with equal keys ask the same thing.
        prompt_id: unique in the dataset.
        text: the prompt as its first row spells it.
        origin: "train" as soon as one row comes from the training split.
        rows: the rows, in the order of the source.
        category: factual, instruction or creative; "" until `categories.assign` has run.
        rule: what decided the category; "" until then.
        checks: reference checks of the first row that has some, or None.
    """

    key: str
    prompt_id: str
    text: str
    origin: Origin
    rows: tuple[Row, ...]
    category: str = ""
    checks: dict[str, Any] | None = None
    rule: str = ""

    @property
    def score(self) -> float:
        """Mean score of the preferred answers: what the sample is stratified by."""
        return sum(row.score_chosen for row in self.rows) / len(self.rows)


@dataclass(slots=True)
class Grouping:
    """Rows gathered by prompt, with what was found on the way.

    Attributes:
        prompts: the prompts, in order of first appearance.
        in_both_parts: prompts found in the training and in the held-out part of the source.
        replaced_ids: prompts whose identifier was missing or also named another prompt.
    """

    prompts: list[Prompt] = field(default_factory=list)
    in_both_parts: int = 0
    replaced_ids: int = 0


def normalise(text: str) -> str:
    """Fold a prompt so that spellings of the same question compare equal.

    Unicode NFKC (which also folds full-width letters and ligatures), case folding, and every run of blanks
    to one space. Folding runs twice because each of the two steps can undo the other.

    Args:
        text: any text.

    Returns:
        The folded text; `normalise(normalise(x)) == normalise(x)`.

    Source:
        Unicode Standard Annex 15 (normalisation) and section 3.13 (caseless matching).
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.split())


def prompt_digest(key: str) -> str:
    """Identify a prompt by its normalised text.

    Args:
        key: what `normalise` returned.

    Returns:
        sha256 of the key's UTF-8 bytes, 64 hexadecimal digits.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def group(rows: Iterable[Row]) -> Grouping:
    """Gather rows by normalised prompt and give every prompt one unique identifier.

    A source's identifier is kept when it names one prompt only; otherwise the prompt gets `prompt_digest`.

    Args:
        rows: clean rows in the order of the source.

    Returns:
        The prompts and the counts that belong on the card.
    """
    by_key: dict[str, list[Row]] = {}
    for row in rows:
        by_key.setdefault(normalise(row.prompt), []).append(row)
    owners: dict[str, set[str]] = {}
    for key, members in by_key.items():
        owners.setdefault(members[0].prompt_id, set()).add(key)
    grouping = Grouping()
    for key, members in by_key.items():
        first = members[0]
        keep = bool(first.prompt_id) and len(owners[first.prompt_id]) == 1
        origins = {row.origin for row in members}
        grouping.replaced_ids += not keep
        grouping.in_both_parts += len(origins) == 2
        grouping.prompts.append(
            Prompt(
                key=key,
                prompt_id=first.prompt_id if keep else prompt_digest(key),
                text=first.prompt,
                origin="train" if "train" in origins else "test",
                rows=tuple(members),
                category=next((row.category for row in members if row.category), ""),
                checks=next((row.checks for row in members if row.checks), None),
            )
        )
    return grouping
