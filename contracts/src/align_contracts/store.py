"""Publishing an artifact: it appears complete and verified under its name, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from align_contracts import provenance, signals
from align_contracts.artifact import Artifact
from align_contracts.canonical import canonical_bytes, digest, manifest_bytes, to_json
from align_contracts.content import sha256_file
from align_contracts.draft import Draft
from align_contracts.durable import (
    clean_stale,
    disk_errors,
    locked,
    make_directory,
    put_in_place,
    require_free,
    sync,
    sync_tree,
    temp_path,
)
from align_contracts.errors import ConfigError, VerificationError
from align_contracts.licences import licence, licence_warnings
from align_contracts.manifest import (
    MAJOR,
    MANIFESTS,
    MINOR,
    SCHEMA_ID,
    content_digest,
    details_model,
    read_manifest,
    validation_text,
)
from align_contracts.paths import MANIFEST, SIDECAR, Tree, list_tree, open_inside, printable
from align_contracts.settings import split_config
from align_contracts.verify import check_content, check_records, check_tree, sidecar_bytes, tensor_records

Inputs = Mapping[str, Artifact | Sequence[Artifact]]
"""Inputs of an artifact: one or several artifacts a role."""


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

    An input whose licence is not known is named in a warning on stderr before any work is done. In the end one line
    there says what was published, if the settings have a `quiet` that is false.

    Raises:
        PreflightError: when the target exists, cannot be made, or the disk is full.
        LockedError: when another process publishes the same target.
        ConfigError: for values or details that the contract does not allow.
        VerificationError: when the written files do not pass; nothing is published then.
    """
    target = Path(os.path.abspath(path))
    details_model(kind)  # an unknown kind fails before any work is done
    fixed = _fixed_fields(producer, config, inputs)
    for warning in licence_warnings(artifact for _, artifact in _each(inputs)):
        print("warning:", printable(warning), file=sys.stderr)
    make_directory(target.parent, parents=True)
    with disk_errors(target), locked(target):
        clean_stale(target)
        require_free(target, MANIFEST, "artifact", overwrite=overwrite)
        temp = temp_path(target)
        make_directory(temp)
        try:
            draft = Draft(temp, kind, config)
            yield draft
            content = _finish(draft, target.name, fixed)
            with signals.a_moment():
                put_in_place(temp, target)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    if getattr(config, "quiet", True) is False:
        figures = f": {draft.summary}" if draft.summary else ""
        print(printable(f"published {path} ({kind}, digest {content[:12]}){figures}"), file=sys.stderr)


def _finish(draft: Draft, name: str, fixed: Mapping[str, Any]) -> str:
    """Verify the draft's files, then write manifest and sidecar last, everything synced; give the content digest."""
    if draft.details is None:
        raise ConfigError(f"{name}: draft.details was not set", do=f"Assign the details of a {draft.kind}")
    tree = list_tree(draft.dir)
    _check_declared(draft, tree, name)
    sync_tree(draft.dir)
    files, tensors = _scan(draft, tree, name)
    raw = {
        **fixed,
        **_config_fields(draft.config),
        "kind": draft.kind,
        "content_digest": "0" * 64,
        "created_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "environment": provenance.environment(),
        "files": files,
        "tensors": tensors,
        "tokenizer_digest": draft.tokenizer_digest,
        "chat_template_digest": draft.chat_template_digest,
        "quantization": to_json(draft.quantization, "quantization"),
        "metrics": to_json(draft.metrics, "metrics"),
        "seeds": to_json(draft.seeds, "seeds"),
        "details": to_json(draft.details, "details"),
        "extensions": to_json(draft.extensions, "extensions"),
    }
    data, content = _encode(raw, tree, name)
    for file, written in ((MANIFEST, data), (SIDECAR, sidecar_bytes(data))):
        (draft.dir / file).write_bytes(written)
        sync(draft.dir / file)
    sync(draft.dir)
    return content


def _encode(raw: dict[str, Any], tree: Tree, name: str) -> tuple[bytes, str]:
    """Check a manifest against its model, add the content digest, and read both back as a stranger would."""
    try:
        MANIFESTS[raw["kind"]].model_validate_json(canonical_bytes(raw))
    except ValidationError as error:
        raise ConfigError(f"{name}: {validation_text(error)}") from error
    data = manifest_bytes({**raw, "content_digest": content_digest(raw)})
    manifest, _ = read_manifest(data, f"{name}/{MANIFEST}")
    check_records(manifest, name)
    check_tree(manifest, tree, name)
    return data, manifest.content_digest


def _scan(draft: Draft, tree: Tree, name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Hash every declared file and check what it holds; return the file records and the tensor index."""
    files: list[dict[str, Any]] = []
    tensors: list[dict[str, Any]] = []
    for path, (role, volatile) in sorted(draft.declared.items()):
        size = tree.files[path].st_size
        with open_inside(draft.dir, path) as file:
            sha256 = sha256_file(file)
            found = check_content(file, path, size, f"{name}/{path}")
        files.append({"path": path, "role": role, "size": size, "sha256": sha256, "volatile": volatile})
        tensors.extend(to_json(record) for record in tensor_records(path, found))
    return files, tensors


def _check_declared(draft: Draft, tree: Tree, name: str) -> None:
    for path in sorted(set(tree.files) - set(draft.declared)):
        raise VerificationError(f"{name}/{printable(path)}: written but not declared", do="Declare it with draft.file")
    for path in sorted(set(draft.declared) - set(tree.files)):
        raise VerificationError(f"{name}/{path}: declared but not written")


def _fixed_fields(package: str, config: BaseModel | Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Gather the fields that are known before the draft is filled."""
    return {
        "schema_id": SCHEMA_ID,
        "schema_version": {"major": MAJOR, "minor": MINOR},
        "producer": provenance.producer(package),
        **_config_fields(config),
        "inputs": _input_records(inputs),
    }


def _config_fields(config: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    deterministic, runtime = split_config(config)
    return {"config": deterministic, "config_digest": digest(deterministic), "runtime_config": runtime}


def _input_records(inputs: Inputs) -> list[dict[str, Any]]:
    return [
        {
            "role": role,
            "kind": artifact.kind,
            "name": artifact.name,
            "content_digest": artifact.content_digest,
            "manifest_digest": artifact.manifest_digest,
            "source": getattr(artifact.details, "source", None),
            "revision": getattr(artifact.details, "revision", None),
            "license": licence(artifact),
        }
        for role, artifact in _each(inputs)
    ]


def _each(inputs: Inputs) -> Iterator[tuple[str, Artifact]]:
    for role in sorted(inputs):
        given = inputs[role]
        yield from ((role, artifact) for artifact in ([given] if isinstance(given, Artifact) else given))
