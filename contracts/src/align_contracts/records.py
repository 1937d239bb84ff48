"""The parts that every manifest is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ROLE = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"
"""Pattern of a role's name."""

Kind = Literal["dataset", "base_model", "policy", "reward_model", "responses", "judgments", "report"]
Role = Annotated[str, Field(pattern=f"^{ROLE}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="sha256, 64 hexadecimal digits")]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """Base of every part of a manifest: frozen, strict, no unknown field, no NaN."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def added(minor: int, default: Any = None) -> Any:
    """Declare an optional field that a minor version added: a manifest of an older minor must not have it."""
    return Field(default, json_schema_extra={"since": f"1.{minor}"})


def newer_fields(record: Record, minor: int) -> Iterator[str]:
    """Yield the dotted names of the fields that a record has but its own minor version did not know.

    Args:
        record: a record read from a manifest.
        minor: the minor version that the manifest says it is of.
    """
    for name in type(record).model_fields:
        if name not in record.model_fields_set:
            continue
        extra = type(record).model_fields[name].json_schema_extra
        if isinstance(extra, dict) and int(str(extra["since"]).partition(".")[2]) > minor:
            yield name
        value = getattr(record, name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Record):
                yield from (f"{name}.{below}" for below in newer_fields(inner, minor))


class Quantization(Record):
    """Affine group quantization of the stored weights."""

    bits: Annotated[int, Field(ge=2, le=8)]
    """Bits a weight."""
    group_size: Annotated[int, Field(ge=1)]
    """Weights that share a scale and a bias."""


class SchemaVersion(Record):
    """Version of the manifest's schema: a new minor only adds optional fields."""

    major: Count
    """Readers refuse a newer major."""
    minor: Count
    """Readers keep unknown fields of a newer minor."""


class Producer(Record):
    """The program that published the artifact."""

    package: str
    """Distribution name."""
    version: str
    """Its version."""
    git_commit: str | None
    """Commit of the checkout it ran from; null for an installed wheel."""
    git_dirty: bool | None
    """Whether tracked files differed from that commit."""
    lock_digest: Digest | None
    """sha256 of that checkout's uv.lock."""


class Environment(Record):
    """The machine; never part of the content digest."""

    os: str
    """Operating system and release."""
    chip: str
    """Processor name."""
    memory: Count
    """Physical memory in bytes; 0 when unknown."""
    device: str | None
    """MLX device; null when MLX was not in use."""
    mlx_version: str | None
    """Installed MLX version."""
    determinism_class: str
    """Runs of equal class promise equal bytes: system, architecture, device type, MLX version."""


class InputRecord(Record):
    """One artifact that this one was made from."""

    role: Role
    """What it was used as; a role may repeat."""
    kind: Kind
    """Its kind."""
    name: Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f\x7f]+$", max_length=255)]
    """Its directory name when it was read."""
    content_digest: Digest
    """Its identity."""
    manifest_digest: Digest
    """sha256 of its manifest's bytes."""
    source: str | None = None
    """Where it came from, if from outside."""
    revision: str | None = None
    """Revision of that source."""
    license: str | None = added(3)
    """Licence of a dataset or base model, `unknown` when it states none; null for what is made from them."""


class FileRecord(Record):
    """One file of the artifact."""

    path: str
    """Relative POSIX path."""
    role: Role
    """What the file is; unique."""
    size: Count
    """Bytes."""
    sha256: Digest
    """Of the file's bytes."""
    volatile: bool = False
    """Timings, logs, pictures: checked, but not part of the content digest."""


class TensorRecord(Record):
    """One tensor of a safetensors file."""

    file: str
    """Path of the file."""
    name: str
    """Name in the file."""
    dtype: str
    """Type as safetensors spells it."""
    shape: tuple[Count, ...]
    """Sizes."""


class Metric(Record):
    """One measured number."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_./@-]{0,127}$")]
    """snake_case name."""
    value: float
    """Finite value."""
    step: Count | None = None
    """Iteration or step it belongs to."""
    n: Count | None = None
    """How many items it averages."""
