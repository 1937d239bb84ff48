"""What a source of preference rows is, whatever it was opened from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from align_contracts.errors import VerificationError
from align_data.rows import Origin

REQUIRED = ("chosen", "rejected")
"""Columns a source must have. The prompt may be left to the chats, which then begin with it (TRL's implicit prompt)."""

SCORES = ("score_chosen", "score_rejected")
"""Columns a source has both of, or neither: then it says only which answer is better."""

COLUMNS = ("prompt", *REQUIRED, *SCORES, "prompt_id", "category", "checks")
"""Columns that are read; `messages` and any other are left alone."""

HUB = "hf:"
EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a source.

    Attributes:
        origin: "train", or "test" for the source's own held-out part.
        size: rows, or None when only reading tells.
        read: gives the raw rows, in the order of the source.
    """

    origin: Origin
    size: int | None
    read: Callable[[], Iterator[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source.

    Attributes:
        name: `embedded`, `hf:NAME`, or a directory's own name; never a path of one machine.
        revision: what pins the content: a commit of the hub, or a digest of the local files.
        license: as the source states it, or None.
        parts: the training part, then the held-out part if there is one.
        corpus: text to pre-train the embedded base on, given the prompts it must not hold; None elsewhere.
        scored: whether its answers have scores, or it says only which of two is better.
    """

    name: str
    revision: str | None
    license: str | None
    parts: tuple[Part, ...]
    corpus: Callable[[set[str]], Iterator[str]] | None = None
    scored: bool = True


def has_scores(tables: Mapping[str, Iterable[str]]) -> bool:
    """Check the columns of all tables of a source, and say whether its answers have scores.

    Args:
        tables: columns by file or split.

    Raises:
        VerificationError: a required column is missing, or some tables have scores and others have none.
    """
    scored = {where: check_columns(columns, where) for where, columns in tables.items()}
    if len(set(scored.values())) > 1:
        without = next(where for where, has in scored.items() if not has)
        raise VerificationError(
            f"{without} has no scores, other files of the source have",
            expected=f"{' and '.join(SCORES)} in all of them, or in none",
        )
    return all(scored.values())


def check_columns(present: Iterable[str], where: str) -> bool:
    """Refuse a table that lacks a required column, or has one score without the other.

    Args:
        present: the table's columns.
        where: the file or split, for the message.

    Returns:
        Whether the table has scores.

    Raises:
        VerificationError: names what is missing.
    """
    present = list(present)
    scored = any(name in present for name in SCORES)
    missing = [name for name in (*REQUIRED, *(SCORES if scored else ())) if name not in present]
    if missing:
        raise VerificationError(
            f"{where} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            expected=f"prompt, {', '.join(REQUIRED)}, and both scores or none",
            got=", ".join(present) or "no columns",
            do="Rename the columns to those of ultrafeedback_binarized or of TRL",
        )
    return scored
