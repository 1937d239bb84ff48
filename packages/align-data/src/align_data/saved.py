"""Read what `datasets` has saved with ``save_to_disk``: one dataset, or one a split."""

from __future__ import annotations

from pathlib import Path

from align_contracts.errors import VerificationError
from align_data.source import Source, of_tables, wanted_splits

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
    wanted = wanted_splits(splits, str(directory), train_split=train_split, test_split=test_split)
    parts, scored = of_tables(splits, wanted, str(directory))
    return Source(directory.resolve().name, revision, splits[train_split].info.license or None, parts, scored=scored)
