"""Publishing an artifact: it appears complete and verified under its name, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from align_contracts import provenance
from align_contracts.artifact import Artifact
from align_contracts.canonical import digest, manifest_bytes, to_json
from align_contracts.content import sha256_file
from align_contracts.draft import Draft
from align_contracts.durable import clean_stale, disk_errors, locked, put_in_place, sync, sync_tree, temp_path
from align_contracts.errors import ConfigError, PreflightError, VerificationError
from align_contracts.manifest import (
    MAJOR,
    MANIFESTS,
    MINOR,
    SCHEMA_ID,
    content_digest,
    read_manifest,
    validation_text,
)
from align_contracts.paths import MANIFEST, SIDECAR, check_relative, list_tree, open_inside
from align_contracts.settings import split_config
from align_contracts.verify import (
    check_content,
    check_records,
    sidecar_bytes,
    tensor_records,
)

Inputs = Mapping[str, "Artifact | Sequence[Artifact]"]


@contextlib.contextmanager
def publish(
    path: str | os.PathLike[str],
    kind: str,
    *,
    producer: str,
    config: BaseModel | Mapping[str, Any],
    inputs: Inputs = MappingProxyType({}),
    overwrite: bool = False,
) -> Iterator[Draft]:
    """Make an artifact; on leaving the block it is verified and appears under its name in one step.

    Args:
        path: the artifact's directory; its parents are made.
        kind: one of the seven kinds.
        producer: distribution name of the publishing stage.
        config: resolved settings; runtime fields and paths are kept apart (see `settings.split_config`).
        inputs: artifacts it was made from, by role.
        overwrite: replace an existing artifact; anything else that stands there is never replaced.

    Yields:
        The draft to fill.

    Raises:
        PreflightError: when the target exists, cannot be made, or the disk is full.
        LockedError: when another process publishes the same target.
        ConfigError: for values or details that the contract does not allow.
        VerificationError: when the written files do not pass; nothing is published then.
    """
    target = Path(os.path.abspath(path))
    deterministic, runtime = split_config(config)
    records = _input_records(inputs)
    _make_parent(target)
    with disk_errors(target), locked(target):
        clean_stale(target)
        _check_free(target, overwrite)
        temp = temp_path(target)
        temp.mkdir()
        try:
            draft = Draft(temp, kind)
            yield draft
            _finish(draft, target.name, producer, deterministic, runtime, records)
            put_in_place(temp, target)
        finally:
            if temp.exists():
                shutil.rmtree(temp, ignore_errors=True)


def _finish(
    draft: Draft,
    name: str,
    package: str,
    config: dict[str, Any],
    runtime: dict[str, Any],
    inputs: list[dict[str, Any]],
) -> None:
    """Verify the draft's files, then write the manifest and its sidecar last, everything synced."""
    if draft.details is None:
        raise ConfigError(f"{name}: draft.details was not set", do=f"Assign the details of a {draft.kind}.")
    sync_tree(draft.dir)
    files, tensors = _scan(draft, name)
    raw = {
        "schema_id": SCHEMA_ID,
        "schema_version": {"major": MAJOR, "minor": MINOR},
        "kind": draft.kind,
        "content_digest": "0" * 64,
        "producer": provenance.producer(package),
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": config,
        "config_digest": digest(config),
        "runtime_config": runtime,
        "inputs": inputs,
        "files": files,
        "tensors": tensors,
        "tokenizer_digest": draft.tokenizer_digest,
        "chat_template_digest": draft.chat_template_digest,
        "quantization": to_json(draft.quantization, "quantization"),
        "metrics": [to_json(metric) for metric in draft.metrics],
        "seeds": to_json(draft.seeds, "seeds"),
        "environment": provenance.environment(),
        "details": to_json(draft.details, "details"),
        "extensions": to_json(draft.extensions, "extensions"),
    }
    data = _encode(raw, name)
    for file, content in ((MANIFEST, data), (SIDECAR, sidecar_bytes(data))):
        (draft.dir / file).write_bytes(content)
        sync(draft.dir / file)
    sync(draft.dir)


def _encode(raw: dict[str, Any], name: str) -> bytes:
    """Bring a manifest into its model's form, add the content digest and read it back as a stranger would."""
    try:
        manifest = MANIFESTS[raw["kind"]].model_validate(raw, strict=False)
    except ValidationError as error:
        raise ConfigError(f"{name}: {validation_text(error)}") from error
    plain = to_json(manifest)
    plain["content_digest"] = content_digest(plain)
    data = manifest_bytes(plain)
    check_records(read_manifest(data, f"{name}/{MANIFEST}")[0], name)
    return data


def _scan(draft: Draft, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hash and check every declared file; refuse missing and undeclared ones."""
    tree = list_tree(draft.dir)
    for path in sorted(set(tree) - set(draft.declared)):
        raise VerificationError(f"{name}/{check_relative(path)}: written but never declared")
    files: list[dict[str, Any]] = []
    tensors: list[dict[str, Any]] = []
    for path, (role, volatile) in sorted(draft.declared.items()):
        where = f"{name}/{path}"
        if path not in tree:
            raise VerificationError(f"{where}: declared but not written")
        size = tree[path].st_size
        with open_inside(draft.dir, path) as file:
            sha256 = sha256_file(file)
            found = check_content(file, path, size, where)
        files.append({"path": path, "role": role, "size": size, "sha256": sha256, "volatile": volatile})
        tensors.extend(to_json(record) for record in tensor_records(path, found))
    return files, tensors


def _input_records(inputs: Inputs) -> list[dict[str, Any]]:
    records = []
    for role in sorted(inputs):
        given = inputs[role]
        for artifact in [given] if isinstance(given, Artifact) else given:
            details = artifact.details
            records.append(
                {
                    "role": role,
                    "kind": artifact.kind,
                    "name": artifact.name,
                    "content_digest": artifact.content_digest,
                    "manifest_digest": artifact.manifest_digest,
                    "source": getattr(details, "source", None),
                    "revision": getattr(details, "revision", None),
                }
            )
    return records


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PreflightError(f"{target.parent}: the directory cannot be made ({error.strerror})") from error


def _check_free(target: Path, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise PreflightError(f"{target} exists and is no artifact", do="Choose another path.")
    if (target / MANIFEST).exists():
        if not overwrite:
            raise PreflightError(f"{target} exists", do="Choose another path or ask to overwrite it.")
    elif any(target.iterdir()):
        raise PreflightError(
            f"{target} is a directory with other files in it", do="Choose another path; it is left alone."
        )
