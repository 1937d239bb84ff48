"""An artifact in the making: its files, numbers and details before publication."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from align_contracts.canonical import canonical_bytes, to_json
from align_contracts.errors import ConfigError, VerificationError
from align_contracts.manifest import details_model, validation_text
from align_contracts.paths import check_collisions, check_relative
from align_contracts.records import ROLE, Metric, Quantization, Record

RecordT = TypeVar("RecordT", bound=Record)


class Draft:
    """What a stage fills inside `with publish(...) as draft`.

    Attributes:
        dir: temporary directory on the target's file system; it may hold declared files only.
        kind: kind of the artifact.
        config: resolved settings; assign them again where the run itself decided what was left open.
        seeds: seeds of the run.
        tokenizer_digest: sha256 of the tokenizer in use, or None.
        chat_template_digest: sha256 of the chat template in use, or None.
        quantization: {bits, group_size} of the weights in use, or None.
        extensions: further JSON by name.
        summary: the figure or two that are said when it is published; not a part of it.
        declared: {path: (role, volatile)} of the files declared so far.
        metrics: numbers recorded so far.
    """

    def __init__(self, directory: Path, kind: str, config: BaseModel | Mapping[str, Any] = MappingProxyType({})):
        self.dir = directory
        self.kind = kind
        self.config: Any = config
        self.seeds: list[int] = []
        self.tokenizer_digest: str | None = None
        self.chat_template_digest: str | None = None
        self.quantization: Quantization | Mapping[str, int] | None = None
        self.extensions: dict[str, Any] = {}
        self.summary = ""
        self.declared: dict[str, tuple[str, bool]] = {}
        self.metrics: list[Metric] = []
        self._details: Record | None = None

    @property
    def details(self) -> Any:
        """The kind's own section; assign a dict or the kind's model, which is checked at once.

        Raises:
            ConfigError: when a field is missing, unknown or wrong.
        """
        return self._details

    @details.setter
    def details(self, value: Mapping[str, Any] | Record) -> None:
        self._details = _validated(details_model(self.kind), value, f"details of a {self.kind}")

    def file(self, path: str, *, role: str, volatile: bool = False) -> Path:
        """Declare a file and return where to write it; its directories are made.

        Args:
            path: relative POSIX path inside the artifact.
            role: what the file is; unique in the artifact.
            volatile: True for timings, logs and pictures, which do not count for the content's identity.

        Raises:
            VerificationError: for an unsafe path, or one that collides with another.
            ConfigError: for a bad role, or one that is taken.
        """
        check_relative(path)
        check_collisions([*self.declared, path])
        if not re.fullmatch(ROLE, role):
            raise ConfigError("the role of a file", expected="letters, digits, '_', '.', '-'", got=role)
        if any(role == other for other, _ in self.declared.values()):
            raise ConfigError(f"the file role {role!r} is taken", do="Give each file its own role")
        self.declared[path] = (role, volatile)
        full = self.dir / path
        full.parent.mkdir(parents=True, exist_ok=True)
        return full

    def write_text(self, path: str, text: str, *, role: str, volatile: bool = False) -> Path:
        """Declare and write a UTF-8 text file (see `file`); line breaks stay as they are.

        Raises:
            ConfigError: for half of a surrogate pair.
        """
        full = self.file(path, role=role, volatile=volatile)
        full.write_bytes(_utf8(text, path))
        return full

    def write_json(self, path: str, value: Any, *, role: str, volatile: bool = False) -> Path:
        """Declare and write a JSON file (see `file`), keys in the given order.

        Raises:
            ConfigError: for NaN, infinity and what is not JSON.
        """
        text = json.dumps(to_json(value, path), ensure_ascii=False, indent=1, allow_nan=False)
        return self.write_text(path, text + "\n", role=role, volatile=volatile)

    def write_jsonl(self, path: str, rows: Iterable[Mapping[str, Any]], *, role: str, volatile: bool = False) -> Path:
        """Declare and write a JSON-lines file (see `file`), one row a line, keys in the given order.

        Args:
            path: relative path.
            rows: dicts or models; consumed once.
            role: role of the file.
            volatile: as in `file`.

        Raises:
            ConfigError: for NaN, infinity and what is not JSON, naming the line.
        """
        full = self.file(path, role=role, volatile=volatile)
        with open(full, "wb") as file:
            for number, row in enumerate(rows, start=1):
                plain = to_json(row, f"{path} line {number}")
                line = json.dumps(plain, ensure_ascii=False, allow_nan=False)
                file.write(_utf8(line, f"{path} line {number}") + b"\n")
        return full

    def metric(self, name: str, value: float, *, step: int | None = None, n: int | None = None) -> None:
        """Record a measured number.

        Args:
            name: snake_case name.
            value: finite value, in the unit that its name says.
            step: iteration it belongs to.
            n: how many items it averages.

        Raises:
            VerificationError: for NaN or infinity.
            ConfigError: for a bad name, or a number recorded twice at a step.
        """
        number = float(value)
        if not math.isfinite(number):
            raise VerificationError(f"metric {name!r}", expected="a finite number", got=number)
        record = _validated(Metric, {"name": name, "value": number, "step": step, "n": n}, f"metric {name!r}")
        if any((other.name, other.step) == (record.name, record.step) for other in self.metrics):
            raise ConfigError(f"metric {name!r} at step {step} is recorded twice")
        self.metrics.append(record)


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{where}: half of a surrogate pair, which is no character", got=ascii(text[error.start])
        ) from error


def _validated(model: type[RecordT], value: Any, where: str) -> RecordT:
    try:
        return model.model_validate_json(canonical_bytes(to_json(value, where)))
    except ValidationError as error:
        raise ConfigError(f"{where}: {validation_text(error)}") from error
