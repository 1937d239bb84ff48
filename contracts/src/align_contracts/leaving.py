"""Directories for other programs: what leaves the store, in somebody else's layout, whole or not at all.

Such a directory is no artifact: no stage opens it again. Beside its files lies a record of where they come from, so
that what comes back can be told, and so that only an export is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from align_contracts import provenance
from align_contracts.artifact import Artifact
from align_contracts.canonical import strict_loads, to_json
from align_contracts.content import sha256_file
from align_contracts.durable import (
    clean_stale,
    disk_errors,
    locked,
    make_directory,
    put_in_place,
    require_free,
    sync_tree,
    temp_path,
)
from align_contracts.errors import VerificationError

RECORD = "align-export.json"
"""File of an exported directory that says what it was made from."""


@contextlib.contextmanager
def leave(
    path: str | os.PathLike[str],
    *,
    producer: str,
    form: str,
    source: Artifact,
    facts: Mapping[str, Any] = MappingProxyType({}),
    overwrite: bool = False,
) -> Iterator[Path]:
    """Make a directory for other programs; on leaving the block it appears under its name in one step.

    Args:
        path: the directory; its parents are made.
        producer: distribution name of the exporting stage.
        form: the layout, such as ``peft``.
        source: the artifact that leaves.
        facts: what else the record says.
        overwrite: replace an earlier export; anything else that stands there is never replaced.

    Yields:
        A temporary directory to fill.

    Raises:
        PreflightError: the target exists, cannot be made, or the disk is full.
        LockedError: another process writes the same target.
    """
    target = Path(os.path.abspath(path))
    make_directory(target.parent, parents=True)
    with disk_errors(target), locked(target):
        clean_stale(target)
        require_free(target, RECORD, "directory", overwrite=overwrite)
        temp = temp_path(target)
        make_directory(temp)
        try:
            yield temp
            record = {
                "producer": provenance.producer(producer),
                "form": form,
                "source": {"kind": source.kind, "name": source.name, "content_digest": source.content_digest},
                **facts,
                "files": {name: _sha256(temp / name) for name in sorted(_files(temp))},
            }
            (temp / RECORD).write_text(json.dumps(to_json(record, RECORD), indent=1, ensure_ascii=False) + "\n")
            sync_tree(temp)
            put_in_place(temp, target)
        finally:
            shutil.rmtree(temp, ignore_errors=True)


def read_record(directory: Path) -> dict[str, Any] | None:
    """Give the record of an exported directory, or None where there is none.

    Raises:
        VerificationError: the record is damaged, or a file is not the one that was exported.
    """
    path = directory / RECORD
    if not path.is_file():
        return None
    record = strict_loads(path.read_bytes(), str(path))
    files = record.get("files") if isinstance(record, dict) else None
    if not isinstance(files, dict):
        raise VerificationError(f"{path} is no record of an export", do="Remove it, or export again")
    for name, sha256 in files.items():
        file = directory / name
        if not file.is_file() or _sha256(file) != sha256:
            raise VerificationError(
                f"{file} is not the file that was exported", do=f"Export again, or remove {RECORD} if you changed it"
            )
    assert isinstance(record, dict)
    return record


def _files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return sha256_file(file)
