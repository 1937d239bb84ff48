"""What a source of preference rows is, whatever it was opened from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from align_contracts.errors import ConfigError, VerificationError
from align_data.rows import Origin

REQUIRED = ("chosen", "rejected")
"""Columns a source must have. The prompt may be left to the chats, which then begin with it (TRL's implicit prompt)."""

SCORES = ("score_chosen", "score_rejected")
"""Columns a source has both of, or neither: then it says only which answer is better."""

COLUMNS = ("prompt", *REQUIRED, *SCORES, "prompt_id", "category", "checks")
"""Columns that are read; `messages` and any other are left alone."""

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
        imported: kind, name and content digest of the artifact that its files are of or were exported from.
    """

    name: str
    revision: str | None
    license: str | None
    parts: tuple[Part, ...]
    corpus: Callable[[set[str]], Iterator[str]] | None = None
    scored: bool = True
    imported: Mapping[str, str] | None = None


def wanted_splits(present: Collection[str], where: str, *, train_split: str, test_split: str) -> dict[str, Origin]:
    """Choose the splits that are read, and say what each is.

    Args:
        present: the splits there are.
        where: whose, for the message.
        train_split: name of the training split.
        test_split: name of the held-out split; left out where it is absent.

    Raises:
        ConfigError: there is no such training split.
    """
    if train_split not in present:
        raise ConfigError(
            f"{where} has no split {train_split!r}",
            expected=f"one of {', '.join(sorted(present)) or 'none'}",
            do="Name it with --train-split",
        )
    held_out: dict[str, Origin] = {test_split: "test"} if test_split in present and test_split != train_split else {}
    return {train_split: "train", **held_out}


def of_tables(tables: Mapping[str, Any], wanted: Mapping[str, Origin], where: str) -> tuple[tuple[Part, ...], bool]:
    """Check the columns of tables of `datasets`, and give the parts they make.

    Args:
        tables: a table for each wanted split.
        wanted: what `wanted_splits` chose.
        where: whose, for messages.

    Returns:
        The parts, and whether their answers have scores.

    Raises:
        VerificationError: columns are missing; while reading, that the files are damaged.
    """
    scored = has_scores({f"{where}, split {split},": tables[split].column_names for split in wanted})
    parts = []
    for split, part in wanted.items():
        table = tables[split]
        table = table.select_columns([column for column in COLUMNS if column in table.column_names])
        parts.append(Part(part, len(table), partial(_read, table, where)))
    return tuple(parts), scored


def _read(table: Any, where: str) -> Iterator[Mapping[str, Any]]:
    try:
        yield from table
    except (OSError, ValueError) as error:  # a cut or changed arrow file; GeneratorExit and our own pass
        raise VerificationError(f"{where} is damaged", got=str(error)[:200]) from error


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
    implicit = any(name in present for name in REQUIRED)  # the chats may begin with the prompt
    wanted = (*(() if implicit else ("prompt",)), *REQUIRED, *(SCORES if scored else ()))
    missing = [name for name in wanted if name not in present]
    if missing:
        raise VerificationError(
            f"{where} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            expected=f"prompt, {', '.join(REQUIRED)}, and both scores or none",
            got=", ".join(present) or "no columns",
            do="Rename the columns to those of ultrafeedback_binarized or of TRL",
        )
    return scored
