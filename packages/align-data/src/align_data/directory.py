"""Read a local directory that holds the files of such a dataset: parquet, JSON lines, gzipped or not, or what
`datasets` has saved to disk.

Files lie in the directory or in its `data/`, named like those of the hub: `train_prefs.jsonl`,
`train_prefs-00000-of-00001.parquet`, `test_prefs.jsonl.gz`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from align_contracts.errors import MissingError, VerificationError
from align_contracts.hub_names import HUB, require_directory
from align_contracts.leaving import descent
from align_data.rows import Origin
from align_data.saved import is_saved, open_saved
from align_data.source import COLUMNS, Part, Source, has_scores

EXPECTED = "embedded, hf:NAME or a directory with the dataset's files as --source"
_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")


def open_directory(directory: Path, *, train_split: str, test_split: str) -> Source:
    """Find the files of both splits and check the columns of each.

    Args:
        directory: the directory.
        train_split: files of the training split start with this name.
        test_split: files of the held-out split start with this name; there may be none.

    Returns:
        The source; its revision is a digest of the files' names and bytes.

    Raises:
        MissingError: no such directory, or no file of the training split.
        VerificationError: columns are missing, or a file cannot be read.
    """
    require_directory(directory, EXPECTED)
    if is_saved(directory):
        revision = _digest(sorted(directory.rglob("*.arrow")), directory)
        return open_saved(directory, revision, train_split=train_split, test_split=test_split)
    told, imported = descent(directory)
    parts: list[Part] = []
    used: list[Path] = []
    splits: tuple[tuple[str, Origin], ...] = ((train_split, "train"), (test_split, "test"))
    for split, origin in splits:
        files = find_files(directory, split)
        if origin == "test" and (not files or split == train_split):
            continue
        if not files:
            raise MissingError(
                f"{directory} has no files of the split {split!r}",
                expected=f"data/{split}-00000-of-00001.parquet, {split}.jsonl or the like",
                do="Name the split with --train-split",
            )
        parts.append(Part(origin, _size(files), partial(read_files, files)))
        used += files
    scored = has_scores({str(file): _columns(file) for file in used})
    name, revision = _identity(directory, used)
    if told.source:
        name, revision = told.source, told.revision or revision
    return Source(name, revision, told.license, tuple(parts), scored=scored, imported=imported)


def source_name(directory: Path) -> str:
    """Name a directory: ``hf:OWNER/NAME`` where the hub's client keeps it so, else by its own name."""
    kept = directory.resolve().parts[-3:]
    if len(kept) == 3 and kept[0].startswith("datasets--") and kept[1] == "snapshots":
        return HUB + kept[0].removeprefix("datasets--").replace("--", "/", 1)
    return directory.resolve().name


def _identity(directory: Path, files: Sequence[Path]) -> tuple[str, str]:
    """A directory's name and what pins its content: the commit of a snapshot of the hub, else a digest."""
    name = source_name(directory)
    return name, directory.resolve().name if name.startswith(HUB) else _digest(files, directory)


def find_files(directory: Path, split: str) -> list[Path]:
    """List the files of one split.

    Args:
        directory: the dataset's directory.
        split: the split's name.

    Returns:
        Files called exactly after the split, or shards `SPLIT-00000-of-00001`, sorted by path.
    """
    name = re.compile(rf"{re.escape(split)}(?:-\d+-of-\d+(?:-[0-9a-f]+)?)?")
    found = []
    for folder in (directory, directory / "data"):
        for path in sorted(folder.glob("*")) if folder.is_dir() else []:
            suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
            if suffix and name.fullmatch(path.name.removesuffix(suffix)) and path.is_file():
                found.append(path)
    return found


def read_files(files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    """Read raw rows.

    Args:
        files: what `find_files` returned.

    Yields:
        One row at a time, in the order of the files, with the columns that are read.

    Raises:
        VerificationError: a file is damaged; names it, and for JSON lines the line.
    """
    for file in files:
        if file.suffix == ".parquet":
            yield from _parquet_rows(file)
        else:
            yield from ({name: row[name] for name in COLUMNS if name in row} for row in _json_rows(file))


def _json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Whole rows, with columns that nothing here reads: a message about missing ones names them."""
    opener = gzip.open if file.suffix == ".gz" else open
    number = 0
    try:
        with opener(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line.rstrip("\n"))  # else what a cut line lacks would be missing on the next
                if not isinstance(row, dict):
                    raise VerificationError(f"{file}, line {number}", expected="a JSON object", got=type(row).__name__)
                yield row
    except json.JSONDecodeError as error:
        why = f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")
        raise VerificationError(f"{file}, line {number} is not JSON: {why} at column {error.colno}") from error
    except RecursionError as error:
        raise VerificationError(f"{file}, line {number} is nested too deeply to be read") from error
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise VerificationError(f"{file} is damaged after line {number}", got=str(error)) from error


def _parquet(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise VerificationError(f"{file} is not a readable parquet file", got=str(error)) from error


def _parquet_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa

    with _parquet(file) as table:
        columns = [name for name in COLUMNS if name in table.schema_arrow.names]
        try:
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise VerificationError(f"{file} is damaged", got=str(error)) from error


def _columns(file: Path) -> list[str]:
    """Column names; those of the first row in JSON lines, and none wanted of an empty file."""
    if file.suffix == ".parquet":
        with _parquet(file) as table:
            return list(table.schema_arrow.names)
    first = next(_json_rows(file), None)
    return list(COLUMNS if first is None else first)


def _size(files: Sequence[Path]) -> int | None:
    """Rows in total when the files say so."""
    total = 0
    for file in files:
        if file.suffix != ".parquet":
            return None
        with _parquet(file) as table:
            total += table.metadata.num_rows
    return total


def _digest(files: Sequence[Path], directory: Path) -> str:
    """Pin the content: sha256 over each file's relative name and sha256."""
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{file.relative_to(directory).as_posix()} {digest}\n".encode())
    return f"sha256:{whole.hexdigest()}"
