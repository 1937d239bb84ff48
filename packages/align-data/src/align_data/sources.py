"""Where preference rows come from: the embedded world, the hub, or a local directory of the same layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts.errors import ConfigError, VerificationError
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


def open_source(
    source: str, *, train_split: str, test_split: str, seed: int = 42, embedded_prompts: int = 0, progress: bool = True
) -> Source:
    """Open a source and check its columns.

    Args:
        source: `embedded`, `hf:NAME`, `hf:NAME@REVISION`, or a directory.
        train_split: name of the training split (hub and directories).
        test_split: name of the held-out split; it may be absent.
        seed: what the embedded world is made from.
        embedded_prompts: how many prompts the embedded world makes.
        progress: whether a download shows bars.

    Returns:
        The source. Rows are read later, by its parts.

    Raises:
        ConfigError: the source is not well named, or has no such split.
        MissingError: the directory or the hub dataset does not exist.
        PreflightError: the hub cannot be reached.
        VerificationError: columns are missing, or a file cannot be read.
    """
    if source == EMBEDDED:
        return embedded_source(seed, embedded_prompts)
    if source.startswith(HUB):
        from align_data.hub import open_hub

        name, _, revision = source.removeprefix(HUB).partition("@")
        if not name:
            raise ConfigError("source names no dataset", expected="hf:NAME or hf:NAME@REVISION", got=source)
        return open_hub(name, revision or None, train_split=train_split, test_split=test_split, progress=progress)
    from align_data.directory import open_directory

    return open_directory(Path(source), train_split=train_split, test_split=test_split)


def embedded_source(seed: int, prompts: int) -> Source:
    """Make the embedded world: prompts, answers of several qualities, checks and a corpus.

    Args:
        seed: decides everything.
        prompts: how many prompts.

    Returns:
        A source of one part, which needs no network and no file.
    """
    from align_data import embedded

    def read() -> Iterator[Mapping[str, Any]]:
        yield from embedded.rows(seed, prompts)

    return Source(
        name=EMBEDDED,
        revision=None,
        license="MIT",
        parts=(Part("train", prompts, read),),
        corpus=lambda exclude: embedded.corpus(seed, exclude),
    )


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
