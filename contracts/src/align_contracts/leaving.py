"""Directories for other programs: what leaves the store, in somebody else's layout, whole or not at all.

Such a directory is no artifact: no stage opens it again. Beside its files lies a record of where they come from, so
that what comes back keeps its source and its licence, and so that only an export is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from align_contracts import provenance
from align_contracts.artifact import Artifact, open_artifact
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
from align_contracts.licences import card_licence, terms
from align_contracts.paths import SIDECAR

RECORD = "align-export.json"
"""File of an exported directory that says what it was made from."""
_IDENTITY = ("kind", "name", "content_digest")


@dataclass(frozen=True, slots=True)
class Descent:
    """Where something comes from, as far as it is told.

    Attributes:
        source: `hf:NAME`, say.
        revision: what pins that source.
        license: the terms it is under.
    """

    source: str | None = None
    revision: str | None = None
    license: str | None = None


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
                "source": _identity(source),
                "origin": asdict(_descent(source)),
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


def descent(directory: Path) -> tuple[Descent, dict[str, str] | None]:
    """Read where a directory's content comes from: an artifact and an export tell, of others a card tells the licence.

    A folder of an artifact or of an export is told by the whole.

    Returns:
        The descent; kind, name and digest of the artifact that it is or was exported from, None for other directories.

    Raises:
        VerificationError: the artifact or the export is damaged, or a file is not the one that was exported.
    """
    for whole in (directory, directory.resolve().parent):
        if (whole / SIDECAR).is_file():
            artifact = open_artifact(whole)
            return _descent(artifact), _identity(artifact)
        record = read_record(whole)
        if record and (whole == directory or any(name.startswith(f"{directory.name}/") for name in record["files"])):
            return Descent(**_texts(record, "origin", Descent.__slots__)), _texts(record, "source", _IDENTITY)
    return Descent(license=card_licence(directory)), None


def _identity(artifact: Artifact) -> dict[str, str]:
    return {name: getattr(artifact, name) for name in _IDENTITY}


def _descent(artifact: Artifact) -> Descent:
    details = artifact.details
    return Descent(getattr(details, "source", None), getattr(details, "revision", None), terms(artifact))


def _texts(record: Mapping[str, Any], part: str, names: tuple[str, ...]) -> dict[str, str]:
    """The texts of a part of a record; whatever else stands there is left out."""
    found = record.get(part)
    return {name: found[name] for name in names if isinstance(found.get(name), str)} if isinstance(found, dict) else {}


def _files(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return sha256_file(file)
