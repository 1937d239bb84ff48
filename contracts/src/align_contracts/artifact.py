"""A verified artifact: its files by role, its metrics, and its inputs found by digest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_contracts.canonical import sha256_bytes, strict_loads
from align_contracts.content import parse_row
from align_contracts.errors import AlignError, KindError, MissingError, VerificationError
from align_contracts.manifest import Manifest
from align_contracts.paths import MANIFEST, open_inside
from align_contracts.records import FileRecord, InputRecord, Metric
from align_contracts.verify import claimed, verify_deep, verify_quick

STORE_VARIABLE = "ALIGN_STORE"
"""Environment variable with further directories that hold artifacts, separated by `os.pathsep`."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A published artifact that passed verification; make one with `open_artifact`.

    Attributes:
        path: its directory, absolute.
        manifest: its typed manifest.
        manifest_digest: sha256 of the manifest's bytes.
        raw: the manifest as plain JSON, with the unknown fields of newer minors.
    """

    path: Path
    manifest: Manifest = field(repr=False)
    manifest_digest: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """Directory name."""
        return self.path.name

    @property
    def kind(self) -> str:
        """Kind, such as `policy`."""
        return self.manifest.kind

    @property
    def content_digest(self) -> str:
        """Identity of the content."""
        return self.manifest.content_digest

    @property
    def details(self) -> Any:
        """The kind's own section, a model of `align_contracts.details`."""
        return self.manifest.details

    def file(self, role: str) -> Path:
        """Return the path of the file with a role.

        Raises:
            VerificationError: when the artifact has none.
        """
        return self.path / self._record(role).path

    def files(self, prefix: str = "") -> list[Path]:
        """Return the paths of all files whose role starts with a prefix, sorted by role."""
        found = [record for record in self.manifest.files if record.role.startswith(prefix)]
        return [self.path / record.path for record in sorted(found, key=lambda record: record.role)]

    def read_json(self, role: str) -> Any:
        """Read a JSON file by role; its sha256 is checked on the way.

        Raises:
            VerificationError: when it is absent, changed or not strict JSON.
        """
        record = self._record(role)
        return strict_loads(self._read(record), f"{self.name}/{record.path}")

    def read_jsonl(self, role: str) -> list[dict[str, Any]]:
        """Read a JSON-lines file by role; its sha256 is checked on the way.

        Returns:
            One dict a line.

        Raises:
            VerificationError: when it is absent, changed or a line is not a JSON object.
        """
        record = self._record(role)
        where = f"{self.name}/{record.path}"
        lines = self._read(record).split(b"\n")
        if lines[-1] == b"":
            lines.pop()
        return [parse_row(line, f"{where} line {i}") for i, line in enumerate(lines, start=1)]

    def metrics(self) -> list[Metric]:
        """Return all metric records."""
        return list(self.manifest.metrics)

    def metric(self, name: str, step: int | None = None) -> float:
        """Return one measured number.

        Args:
            name: its name.
            step: its step; None takes the record without a step, else the one of the last step.

        Raises:
            VerificationError: when there is none.
        """
        found = [metric for metric in self.manifest.metrics if metric.name == name]
        if step is not None:
            found = [metric for metric in found if metric.step == step]
        if not found:
            at = "" if step is None else f" at step {step}"
            known = ", ".join(sorted({metric.name for metric in self.manifest.metrics})) or "none"
            raise VerificationError(f"{self.name}: no metric {name!r}{at}", expected=f"one of {known}")
        return min(found, key=lambda metric: (metric.step is not None, -(metric.step or 0))).value

    def input(self, role: str) -> Artifact:
        """Return the one input of a role, found and verified.

        Raises:
            VerificationError: when the role has not exactly one input, or the input is nowhere to be found.
        """
        found = [record for record in self.manifest.inputs if record.role == role]
        if len(found) != 1:
            roles = ", ".join(sorted({record.role for record in self.manifest.inputs})) or "no inputs"
            raise VerificationError(
                f"{self.name}: {len(found)} inputs of role {role!r}", expected="one", got=f"roles {roles}"
            )
        return resolve_input(self, found[0])

    def inputs(self, role: str | None = None) -> list[Artifact]:
        """Return the inputs of a role (or all), found and verified, in recorded order.

        Raises:
            VerificationError: when one of them is nowhere to be found.
        """
        return [resolve_input(self, record) for record in self.manifest.inputs if role is None or record.role == role]

    def _record(self, role: str) -> FileRecord:
        for record in self.manifest.files:
            if record.role == role:
                return record
        known = ", ".join(sorted(record.role for record in self.manifest.files)) or "no files"
        raise VerificationError(f"{self.name}: no file of role {role!r}", expected=f"one of {known}")

    def _read(self, record: FileRecord) -> bytes:
        with open_inside(self.path, record.path) as file:
            data = file.read()
        if (found := sha256_bytes(data)) != record.sha256:
            raise VerificationError(f"{self.name}/{record.path}: sha256", expected=record.sha256, got=found)
        return data


def open_artifact(
    path: str | os.PathLike[str], kind: str | tuple[str, ...] | None = None, deep: bool = False
) -> Artifact:
    """Open a published artifact after verifying it.

    Args:
        path: its directory.
        kind: the kind, or kinds, that the caller can use; None takes any.
        deep: also read every file (see `verify_deep`).

    Returns:
        The artifact.

    Raises:
        MissingError: when the path is not there.
        KindError: when it is of another kind.
        VerificationError: when it is damaged, incomplete or unsafe; the message names the file.
    """
    try:
        return _opened(path, kind, deep)
    except AlignError as error:
        error.given = Path(path)
        raise


def _opened(path: str | os.PathLike[str], kind: str | tuple[str, ...] | None, deep: bool) -> Artifact:
    root = resolved(path)
    kinds = (kind,) if isinstance(kind, str) else kind
    manifest, raw, manifest_digest = verify_quick(root, kinds or ())
    if kinds and manifest.kind not in kinds:
        raise KindError(f"{path}", expected=" or ".join(map(a_kind, kinds)), got=a_kind(manifest.kind))
    if deep:
        verify_deep(root, manifest)
    return Artifact(root, manifest, manifest_digest, raw)


def a_kind(kind: str) -> str:
    """Return a kind with its article; responses and judgments are many and have none."""
    return kind if kind.endswith("s") else f"a {kind}"


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return a path without links.

    Raises:
        MissingError: when its links lead in a circle.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError) as error:  # the latter is what Python 3.11 says of a circle
        raise MissingError(f"{path}: its links lead nowhere", got=error) from error


def resolve_input(artifact: Artifact, record: InputRecord) -> Artifact:
    """Find the artifact that an input record names: beside the artifact by name, else by digest.

    Args:
        artifact: the artifact that has the input.
        record: the input.

    Returns:
        The verified input, whose content digest equals the recorded one.

    Raises:
        VerificationError: when no place has it; the message lists what was searched.
    """
    places = _places(artifact.path)
    near_miss: str | None = None
    for candidate in _candidates(places, record.name):
        if claimed(candidate, "content_digest") != record.content_digest:
            if candidate.name == record.name and near_miss is None:
                near_miss = str(candidate)
            continue
        found = open_artifact(candidate, record.kind)
        if found.content_digest == record.content_digest:
            return found
    raise VerificationError(
        f"{artifact.name}: input {record.role!r} ({record.kind} {record.name!r}) is not there",
        expected=f"content {record.content_digest[:12]} in {', '.join(map(str, places))}",
        got=f"other content in {near_miss}" if near_miss else None,
        do=f"Put it beside {artifact.name}, or name its directory in {STORE_VARIABLE}",
    )


def _places(path: Path) -> list[Path]:
    named = [Path(part) for part in os.environ.get(STORE_VARIABLE, "").split(os.pathsep) if part]
    return list(dict.fromkeys([path.parent, *named]))


def _candidates(places: list[Path], name: str) -> Iterator[Path]:
    """By name first, in every place; then all other directories."""
    if "/" not in name and name not in {"", ".", ".."}:
        yield from (place / name for place in places if os.path.isfile(place / name / MANIFEST))
    for place in places:
        try:
            inside = sorted(place.iterdir())
        except OSError:
            continue
        yield from (
            entry
            for entry in inside
            if entry.name != name and not entry.name.startswith(".") and os.path.isfile(entry / MANIFEST)
        )
