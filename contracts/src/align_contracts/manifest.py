"""The manifest: one typed model for each artifact kind, its content digest, and reading it from bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Field, JsonValue, ValidationError

from align_contracts.canonical import canonical_bytes, digest, manifest_bytes, strict_loads
from align_contracts.details import (
    BaseModelDetails,
    DatasetDetails,
    Details,
    JudgmentsDetails,
    PolicyDetails,
    ReportDetails,
    ResponsesDetails,
    RewardModelDetails,
)
from align_contracts.errors import SchemaVersionError, VerificationError
from align_contracts.migrations import MIGRATIONS, migrate
from align_contracts.paths import MANIFEST, printable
from align_contracts.records import (
    Digest,
    Environment,
    FileRecord,
    InputRecord,
    Kind,
    Metric,
    Producer,
    Quantization,
    Record,
    SchemaVersion,
    TensorRecord,
    newer_fields,
)

SCHEMA_ID = "align.manifest"
MAJOR, MINOR = 1, 3
MAX_MANIFEST_BYTES = 4 * 2**20


class Manifest(Record):
    """Fields common to every kind; `MANIFESTS` has the model of each kind."""

    schema_id: Literal["align.manifest"]
    """Fixed name of this schema."""
    schema_version: SchemaVersion
    """Version the writer used."""
    kind: Kind
    """Kind of artifact."""
    content_digest: Digest
    """Identity of the content: equal for equal reruns."""
    producer: Producer
    """Program."""
    created_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC time of publication."""
    config: dict[str, JsonValue]
    """Resolved settings that determine the content."""
    config_digest: Digest
    """sha256 of `config`'s canonical bytes."""
    runtime_config: dict[str, JsonValue]
    """Settings that do not: paths, progress, limits of memory."""
    inputs: tuple[InputRecord, ...]
    """Artifacts it was made from."""
    files: tuple[FileRecord, ...]
    """Files, sorted by path."""
    tensors: tuple[TensorRecord, ...]
    """Tensors of all safetensors files, sorted by file and name."""
    tokenizer_digest: Digest | None
    """sha256 of the tokenizer in use."""
    chat_template_digest: Digest | None
    """sha256 of the chat template in use."""
    quantization: Quantization | None
    """Quantization of the weights in use."""
    metrics: tuple[Metric, ...]
    """Measured numbers."""
    seeds: tuple[int, ...]
    """Seeds of the run."""
    environment: Environment
    """Machine."""
    details: Details
    """Section of the kind."""
    extensions: dict[str, JsonValue]
    """Anything else, by name."""


class DatasetManifest(Manifest):
    """Manifest of a dataset."""

    kind: Literal["dataset"]
    """Kind of artifact."""
    details: DatasetDetails
    """Section of the kind."""


class BaseModelManifest(Manifest):
    """Manifest of a base model."""

    kind: Literal["base_model"]
    """Kind of artifact."""
    details: BaseModelDetails
    """Section of the kind."""


class PolicyManifest(Manifest):
    """Manifest of a policy: sft, ppo or grpo."""

    kind: Literal["policy"]
    """Kind of artifact."""
    details: PolicyDetails
    """Section of the kind."""


class RewardModelManifest(Manifest):
    """Manifest of a reward model."""

    kind: Literal["reward_model"]
    """Kind of artifact."""
    details: RewardModelDetails
    """Section of the kind."""


class ResponsesManifest(Manifest):
    """Manifest of a set of responses."""

    kind: Literal["responses"]
    """Kind of artifact."""
    details: ResponsesDetails
    """Section of the kind."""


class JudgmentsManifest(Manifest):
    """Manifest of a set of judgments."""

    kind: Literal["judgments"]
    """Kind of artifact."""
    details: JudgmentsDetails
    """Section of the kind."""


class ReportManifest(Manifest):
    """Manifest of a comparison report."""

    kind: Literal["report"]
    """Kind of artifact."""
    details: ReportDetails
    """Section of the kind."""


MANIFESTS: dict[str, type[Manifest]] = {
    "dataset": DatasetManifest,
    "base_model": BaseModelManifest,
    "policy": PolicyManifest,
    "reward_model": RewardModelManifest,
    "responses": ResponsesManifest,
    "judgments": JudgmentsManifest,
    "report": ReportManifest,
}
"""The manifest model of each kind."""


def details_model(kind: str) -> type[Details]:
    """Return the model of a kind's `details` section.

    Raises:
        VerificationError: for an unknown kind.
    """
    if kind not in MANIFESTS:
        raise VerificationError("unknown artifact kind", expected=" | ".join(MANIFESTS), got=repr(kind))
    return cast("type[Details]", MANIFESTS[kind].model_fields["details"].annotation)


def content_digest(manifest: Mapping[str, Any]) -> str:
    """Return the identity of an artifact's content, as the contract defines it.

    Args:
        manifest: the manifest as plain JSON (its own `content_digest` is not read).

    Returns:
        sha256 over the canonical JSON of kind, schema major, files that are not volatile, config, details,
        tokenizer digests, quantization, seeds and the inputs' identities.
    """
    files = [
        {key: file[key] for key in ("path", "role", "size", "sha256")}
        for file in manifest["files"]
        if not file.get("volatile", False)
    ]
    inputs = [{key: item[key] for key in ("role", "kind", "content_digest")} for item in manifest["inputs"]]
    same = (
        "kind",
        "config",
        "details",
        "tokenizer_digest",
        "chat_template_digest",
        "quantization",
        "seeds",
    )
    identity = {key: manifest[key] for key in same}
    return digest({**identity, "schema_major": manifest["schema_version"]["major"], "files": files, "inputs": inputs})


def read_manifest(data: bytes, where: str = MANIFEST) -> tuple[Manifest, dict[str, Any]]:
    """Read a manifest from the bytes of its file and check everything that needs no other file.

    Args:
        data: content of `manifest.json`.
        where: name of the file for messages.

    Returns:
        The typed manifest, and the same as plain JSON; both at the current major (see `migrations`).

    Raises:
        SchemaVersionError: when a newer major wrote it, or an older one from which no migration leads here.
        VerificationError: when it is too large, not canonical, not of this schema or contradicts itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise VerificationError(f"{where}: too large", expected=f"at most {MAX_MANIFEST_BYTES} bytes", got=len(data))
    raw = strict_loads(data, where)
    if not isinstance(raw, dict):
        raise VerificationError(f"{where}: not a manifest", expected="an object", got=type(raw).__name__)
    major, minor = _version(raw, where)
    if manifest_bytes(raw) != data:
        raise VerificationError(
            f"{where}: its bytes are not the canonical bytes", do="It was edited after publication; publish it again"
        )
    if major < MAJOR:
        raw = _migrated(raw, major, where)
        data = canonical_bytes(raw)
    model = MANIFESTS.get(raw["kind"]) if isinstance(raw.get("kind"), str) else None
    if model is None:
        raise VerificationError(f"{where}: unknown kind", expected=" | ".join(MANIFESTS), got=repr(raw.get("kind")))
    newer = major == MAJOR and minor > MINOR
    try:
        manifest = model.model_validate_json(data, extra="allow" if newer else None)
    except ValidationError as error:
        do = f"It is of schema {major}.{minor}: update align-contracts" if newer else None
        raise VerificationError(f"{where}: {validation_text(error)}", do=do) from error
    if major == MAJOR:
        if unknown := next(newer_fields(manifest, minor), None):
            raise VerificationError(f"{where}: {unknown}: schema {major}.{minor} has no such field")
        _check_digests(raw, content_digest, where)
    return manifest, raw


def validation_text(error: ValidationError) -> str:
    """Return the first problem of a pydantic error in one line, with the number of further ones."""
    first, *rest = error.errors(include_url=False)
    field = printable(".".join(str(part) for part in first["loc"])[:200]) or "document"
    got = "" if first["type"] == "missing" else f", got {ascii(first['input'])[:80]}"
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{field}: {first['msg']}{got}{more}"


def _version(raw: Mapping[str, Any], where: str) -> tuple[int, int]:
    version = raw.get("schema_version")
    if (
        raw.get("schema_id") != SCHEMA_ID
        or not isinstance(version, dict)
        or type(version.get("major")) is not int
        or type(version.get("minor")) is not int
    ):
        raise VerificationError(f"{where}: not an align manifest", expected=f"schema_id {SCHEMA_ID!r}")
    major, minor = version["major"], version["minor"]
    if major > MAJOR or not all(step in MIGRATIONS for step in range(major, MAJOR)):
        raise SchemaVersionError(
            f"{where}: schema version {str(major)[:20]}.{str(minor)[:20]} cannot be read",
            expected=f"major {MAJOR}",
            do="Update align-contracts" if major > MAJOR else "No migration from this version exists",
        )
    return major, minor


def _migrated(raw: dict[str, Any], major: int, where: str) -> dict[str, Any]:
    """Check an older major's digests as it defined them, and bring the manifest to the current major."""
    try:
        _check_digests(raw, MIGRATIONS[major].content_digest, where)
        return migrate(raw, MAJOR, MIGRATIONS)
    except (LookupError, TypeError, AttributeError) as error:
        raise VerificationError(f"{where}: it is no manifest of schema major {major}", got=repr(error)) from error


def _check_digests(raw: Mapping[str, Any], identity: Callable[[Mapping[str, Any]], str], where: str) -> None:
    if (found := digest(raw["config"])) != raw["config_digest"]:
        raise VerificationError(f"{where}: config_digest", expected=raw["config_digest"], got=found)
    if (found := identity(raw)) != raw["content_digest"]:
        raise VerificationError(f"{where}: content_digest", expected=raw["content_digest"], got=found)
