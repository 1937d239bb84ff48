"""Read what `datasets` has saved with ``save_to_disk``: one dataset, or one a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from align_contracts.errors import ConfigError, VerificationError
from align_data.rows import Origin
from align_data.source import COLUMNS, Part, Source, has_scores

MARKS = ("dataset_dict.json", "state.json")
"""A directory that has one of these was written by ``save_to_disk``: several splits, or one dataset."""


def is_saved(directory: Path) -> bool:
    """Say whether ``save_to_disk`` wrote a directory."""
    return any((directory / mark).is_file() for mark in MARKS)


def open_saved(directory: Path, revision: str, *, train_split: str, test_split: str) -> Source:
    """Open such a directory and check its columns.

    Args:
        directory: the directory; a dataset without splits is all training part.
        revision: what pins its content.
        train_split: name of the training split.
        test_split: name of the held-out split; it may be absent.

    Raises:
        ConfigError: there is no such training split.
        VerificationError: the files are damaged, or columns are missing.
    """
    import datasets

    try:
        found = datasets.load_from_disk(str(directory))
    except Exception as error:  # the library raises many kinds for a damaged directory
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise VerificationError(f"{directory} is no readable saved dataset", got=first) from error
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {train_split: found}
    if train_split not in splits:
        raise ConfigError(
            f"{directory} has no split {train_split!r}",
            expected=f"one of {', '.join(sorted(splits)) or 'none'}",
            do="Name it with --train-split",
        )
    wanted: dict[str, Origin] = {train_split: "train"}
    if test_split in splits and test_split != train_split:
        wanted[test_split] = "test"
    scored = has_scores({f"{directory}, split {name},": splits[name].column_names for name in wanted})
    parts = []
    for name, origin in wanted.items():
        table = splits[name].select_columns([column for column in COLUMNS if column in splits[name].column_names])
        parts.append(Part(origin, len(table), partial(_rows, table, directory)))
    return Source(directory.resolve().name, revision, None, tuple(parts), scored=scored)


def _rows(table: Any, directory: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield from table
    except (OSError, ValueError) as error:  # a cut or changed arrow file; GeneratorExit and our own pass
        raise VerificationError(f"{directory} is damaged", got=str(error)[:200]) from error
