"""Reading AlpacaEval's annotations: pairs of answers with a preference in [1, 2]."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts.errors import ConfigError, MissingError, VerificationError

BASELINES = ("gpt4_1106_preview", "text_davinci_003")
"""Baselines of AlpacaEval 2 and 1; in a file with one of them, the other model is the candidate."""

MAX_BYTES = 4 * 2**30
"""Largest file, unpacked."""

FIELDS = ("instruction", "output_1", "generator_1", "output_2", "generator_2", "preference", "dataset", "annotator")
"""What is read of a row; anything else, such as the judge's raw reply, is left alone."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Annotation:
    """One judged pair, seen from the candidate.

    Attributes:
        prompt_id: First 16 hexadecimal digits of the instruction's sha256: equal instructions have equal ones.
        category: AlpacaEval's name of the data set; "all" where the row names none.
        preference: In [0, 1], 1 for the candidate; None where the judge gave none.
        length_candidate: Characters of the candidate's answer.
        length_baseline: Characters of the baseline's answer.
    """

    prompt_id: str
    category: str
    preference: float | None
    length_candidate: int
    length_baseline: int


@dataclass(frozen=True)
class Annotations:
    """A file of annotations.

    Attributes:
        candidate: The model under test.
        baseline: What it is compared with; the same name for a model against itself.
        judge: The annotator's name; "alpaca-eval" where the rows name none, or several.
        rows: One a pair, in the file's order.
        repeated: Rows whose instruction stood in an earlier row.
        digest: sha256 of the unpacked file.
    """

    candidate: str
    baseline: str
    judge: str
    rows: tuple[Annotation, ...]
    repeated: int
    digest: str


def read_annotations(path: Path, baseline: str | None = None) -> Annotations:
    """Read `annotations.json`, plain or packed by gzip, and check every row.

    A preference is a number in [1, 2] (1: output_1, 2: output_2), or 0, which means a draw; text that holds such a
    number is read as one, null and NaN mean that the judge gave none.

    Args:
        path: The file.
        baseline: Name of the baseline; None takes AlpacaEval's, else the model that is generator_1 in every row.

    Returns:
        The annotations.

    Raises:
        MissingError: There is no such file.
        VerificationError: The file is not such a list; the message names the row.
        ConfigError: The baseline is not in the file, or cannot be known.
    """
    data = _unpacked(path)
    rows = _parsed(data, path.name)
    for number, row in enumerate(rows, start=1):
        _check(row, f"{path.name}: row {number} of {len(rows)}")
    candidate, against = _roles(rows, baseline, path.name)
    annotations = tuple(_annotation(row, against) for row in rows)
    if all(one.preference is None for one in annotations):
        raise VerificationError(f"{path.name}: no row has a preference")
    judges = [row.get("annotator") for row in rows]
    judge = judges[0] if all(one == judges[0] for one in judges) else None
    return Annotations(
        candidate=_clean(candidate),
        baseline=_clean(against),
        judge=_clean(judge) if isinstance(judge, str) and judge else "alpaca-eval",
        rows=annotations,
        repeated=len(rows) - len({one.prompt_id for one in annotations}),
        digest=hashlib.sha256(data).hexdigest(),
    )


def _unpacked(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingError(
            f"{path} is not there", do="Name AlpacaEval's annotations.json or annotations.json.gz"
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VerificationError(f"{path.name}: its gzip packing is broken", got=error) from None
    except OSError as error:
        raise VerificationError(f"{path} cannot be read", got=error.strerror or error) from None
    if len(data) > MAX_BYTES:
        raise VerificationError(f"{path.name}: too large", expected=f"at most {MAX_BYTES} bytes, unpacked")
    return data


def _parsed(data: bytes, name: str) -> list[Any]:
    def kept(row: dict[str, Any]) -> dict[str, Any]:
        return {field: row[field] for field in FIELDS if field in row}

    try:
        rows = json.loads(data.decode("utf-8-sig"), object_hook=kept)
    except UnicodeDecodeError as error:
        raise VerificationError(f"{name}: byte {error.start} is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{name}: not valid JSON", got=str(error)[:200]) from None
    if not isinstance(rows, list) or not rows:
        raise VerificationError(f"{name}: not AlpacaEval annotations", expected="a JSON list of at least one row")
    return rows


def _check(row: Any, where: str) -> None:
    if not isinstance(row, dict):
        raise VerificationError(where, expected="an object", got=_shown(row))
    for field in FIELDS[:6]:
        if field not in row:
            raise VerificationError(f"{where} has no field {field!r}")
    for field in ("instruction", "generator_1", "generator_2"):
        if not isinstance(row[field], str) or (field != "instruction" and not row[field]):
            raise VerificationError(f"{where}: {field}", expected="text", got=_shown(row[field]))
    try:
        preference = preference_of(row["preference"])
    except ValueError:
        wanted = "a number in [1, 2], 0 for a draw, or null"
        raise VerificationError(f"{where}: preference", expected=wanted, got=_shown(row["preference"])) from None
    for field in ("output_1", "output_2"):
        if not isinstance(row[field], str) and not (row[field] is None and preference is None):
            raise VerificationError(f"{where}: {field}", expected="text", got=_shown(row[field]))


def preference_of(value: Any) -> float | None:
    """Read a preference in AlpacaEval's terms.

    Args:
        value: What the row says.

    Returns:
        The preference for output_2, in [0, 1]; None where there is none.

    Raises:
        ValueError: If it is no preference.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"preference_of: expected a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if math.isnan(number):
        return None
    if number == 0:
        return 0.5
    if not 1 <= number <= 2:
        raise ValueError(f"preference_of: expected a number in [1, 2] or 0, got {value!r}")
    return number - 1.0


def _roles(rows: Sequence[Row], wanted: str | None, name: str) -> tuple[str, str]:
    """Return (candidate, baseline)."""
    models: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        for field in ("generator_1", "generator_2"):
            models.setdefault(row[field], number)
    listed = ", ".join(_shown(one) for one in list(models)[:4])
    if len(models) > 2:
        third = list(models.values())[2]
        raise VerificationError(
            f"{name}: row {third} of {len(rows)} names a third model",
            expected="one candidate and one baseline",
            got=f"{listed}{' …' if len(models) > 4 else ''}",
            do="Import each candidate from a file of its own",
        )
    if wanted is not None and wanted not in models:
        raise ConfigError(f"--baseline {wanted} is not in {name}", expected=f"one of {listed}")
    if len(models) == 1:
        only = next(iter(models))
        return only, only
    known = [one for one in BASELINES if one in models]
    first = {row["generator_1"] for row in rows}
    baseline = wanted or (known[0] if len(known) == 1 else first.pop() if len(first) == 1 else None)
    if baseline is None:
        raise ConfigError(f"{name}: which of {listed} is the baseline?", do="Name it with --baseline")
    return next(one for one in models if one != baseline), baseline


def _annotation(row: Row, baseline: str) -> Annotation:
    preference, lengths = preference_of(row["preference"]), (len(row["output_2"] or ""), len(row["output_1"] or ""))
    if row["generator_1"] != baseline:  # the candidate stands first
        preference, lengths = None if preference is None else 1.0 - preference, lengths[::-1]
    dataset = row.get("dataset")
    return Annotation(
        hashlib.sha256(row["instruction"].encode("utf-8", "surrogatepass")).hexdigest()[:16],
        _clean(dataset) if isinstance(dataset, str) and dataset else "all",
        preference,
        *lengths,
    )


def _clean(text: str) -> str:
    """Replace what UTF-8 cannot hold (half a surrogate pair)."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
