"""Checkpoints of an unfinished run: each appears whole under its name, and is believed only after it was verified.

``checkpoints/000120`` holds the state after 120 iterations (`TrainState.save`) and a record of it: whose run it is,
size and sha256 of each of its files and of the files that the run was making. Nothing in it is changed afterwards.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from align_contracts.canonical import digest
from align_contracts.content import CHUNK
from align_contracts.durable import disk_errors, make_directory, put_in_place, sync, sync_tree, temp_path
from align_contracts.errors import VerificationError
from align_mlx.train_state import TrainState

RECORD = "checkpoint.json"
CHECKPOINTS = "checkpoints"
FORMAT = 1
"""Version of the record; readers refuse others."""

Journal = Mapping[str, tuple[int, str]]
"""Size in bytes and sha256 of files, by their path in a folder."""


@dataclass(frozen=True)
class Record:
    """What a checkpoint says of itself.

    Attributes:
        iteration: iterations finished.
        identity: what the run's result depends on: ``settings`` and ``inputs``, each by name.
        made_by: every version of the program that had a part in the run so far, the latest last.
        files: the checkpoint's own files.
        live: the files of the run folder as they were.
        format: `FORMAT`.
    """

    iteration: int
    identity: dict[str, dict[str, Any]]
    made_by: list[dict[str, Any]]
    files: Journal
    live: Journal
    format: int = FORMAT


def write(
    folder: Path, state: TrainState, identity: dict[str, dict[str, Any]], made_by: list[dict[str, Any]], live: Journal
) -> Path:
    """Write a checkpoint of a state durably and give its directory; see `Record` for the arguments.

    Args:
        folder: the run's ``checkpoints``.
        state: what to save.
        identity, made_by, live: as in the record.

    Raises:
        PreflightError: the disk is full; what was there before is as it was.
    """
    target = folder / f"{state.iteration:06d}"
    make_directory(folder, parents=True)
    sync(folder.parent)
    temp = temp_path(target)
    with disk_errors(target):
        try:
            temp.mkdir()
            state.save(temp)
            files = {file.name: entry(file) for file in sorted(temp.iterdir())}
            body = asdict(Record(state.iteration, identity, made_by, files, live))
            (temp / RECORD).write_text(json.dumps({"record": body, "sha256": digest(body)}, allow_nan=False))
            sync_tree(temp)
            put_in_place(temp, target)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    return target


def entry(file: Path, size: int | None = None) -> tuple[int, str]:
    """Give size and sha256 of a file, or of its first `size` bytes."""
    left = file.stat().st_size if size is None else size
    state, seen = hashlib.sha256(), 0
    with file.open("rb") as handle:
        while chunk := handle.read(min(CHUNK, left - seen)):
            state.update(chunk)
            seen += len(chunk)
    return seen, state.hexdigest()


def numbered(folder: Path) -> list[Path]:
    """Give the checkpoints in a folder, verified or not, the newest first."""
    found = [path for path in folder.glob("*") if re.fullmatch(r"\d{6,}", path.name)]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def verify(checkpoint: Path, run: Path) -> Record:
    """Read the record of a checkpoint, once everything it names was found to be as it says.

    Args:
        checkpoint: its directory.
        run: the folder whose files it names; a file that is appended to may have grown since.

    Raises:
        VerificationError: something is missing or different.
    """
    path = checkpoint / RECORD
    try:
        sealed = json.loads(path.read_text())
        body = sealed["record"]
        if sealed["sha256"] != digest(body):
            raise VerificationError(f"{path}: the record is damaged", expected=digest(body), got=sealed["sha256"])
        if body["format"] != FORMAT:
            raise VerificationError(f"{path}: written by another version", expected=FORMAT, got=body["format"])
        record = Record(**body)
    except (OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, VerificationError):
            raise
        raise VerificationError(f"{path}: the record cannot be read ({error})") from error
    for root, journal in ((checkpoint, record.files), (run, record.live)):
        for name, (size, sha256) in journal.items():
            _verify_file(root / name, size, sha256, whole=root is checkpoint)
    return record


def _verify_file(path: Path, size: int, sha256: str, *, whole: bool) -> None:
    """Raise VerificationError unless a file, or its first `size` bytes, has this sha256."""
    if not path.is_file():
        raise VerificationError(f"{path} is missing")
    found = path.stat().st_size
    if found < size or (whole and found > size):
        raise VerificationError(f"{path} has another size", expected=f"{size} bytes", got=found)
    if (got := entry(path, size)[1]) != sha256:
        raise VerificationError(f"{path} does not hold what was written", expected=f"sha256 {sha256}", got=got)


def newest(run: Path) -> tuple[Path, Record, list[VerificationError]] | None:
    """Find the newest checkpoint of a run that verifies; changes nothing.

    Returns:
        Its directory, its record, and what is wrong with each newer one; None where there is no checkpoint at all.

    Raises:
        VerificationError: there are checkpoints and none verifies.
    """
    wrong: list[VerificationError] = []
    for checkpoint in numbered(run / CHECKPOINTS):
        try:
            return checkpoint, verify(checkpoint, run), wrong
        except VerificationError as error:
            wrong.append(error)
    if wrong:
        raise VerificationError(
            f"none of the {len(wrong)} checkpoints in {run} can be trusted: {wrong[0]}",
            do="Put a copy of the folder back, or give --resume never to start over",
        )
    return None


def set_aside(checkpoint: Path, why: object) -> None:
    """Take a checkpoint out of the row, for a person to look at, and say so in a line."""
    aside = checkpoint.with_name(f"{checkpoint.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)
    sync(checkpoint.parent)
    print(f"note: checkpoint {checkpoint.name} is set aside as {aside.name}: {why}", file=sys.stderr)


def rotate(folder: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep`; one that is half removed no longer has its name."""
    for checkpoint in numbered(folder)[keep:]:
        remove(checkpoint)


def remove(path: Path) -> None:
    """Remove a directory so that it is there whole or not at all."""
    temp = temp_path(path)
    path.rename(temp)
    sync(path.parent)
    shutil.rmtree(temp, ignore_errors=True)


def clean(folder: Path) -> None:
    """Remove what a killed process left half written or half removed in a folder."""
    for path in folder.glob(".*.tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
