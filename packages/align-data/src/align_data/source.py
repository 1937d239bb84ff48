"""What a source of preference rows is, whatever it was opened from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from align_contracts.errors import VerificationError
from align_data.rows import Origin

REQUIRED = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")
"""Columns a source must have."""

COLUMNS = (*REQUIRED, "prompt_id", "category", "checks")
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
    """

    name: str
    revision: str | None
    license: str | None
    parts: tuple[Part, ...]
    corpus: Callable[[set[str]], Iterator[str]] | None = None


def check_columns(present: Iterable[str], where: str) -> None:
    """Refuse a table that lacks a required column.

    Args:
        present: the table's columns.
        where: the file or split, for the message.

    Raises:
        VerificationError: names what is missing.
    """
    present = list(present)
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise VerificationError(
            f"{where} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            expected=", ".join(REQUIRED),
            got=", ".join(present) or "no columns",
            do="Rename the columns to those of ultrafeedback_binarized",
        )
