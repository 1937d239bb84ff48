"""Verification of one artifact directory: quick on every open, deep on request."""

from __future__ import annotations

import os
from importlib import import_module as _import
from pathlib import Path
from typing import Any, BinaryIO

from align_contracts.canonical import sha256_bytes, strict_loads
from align_contracts.content import check_finite, check_json, sha256_file
from align_contracts.details import INPUT_KINDS
from align_contracts.errors import AlignError, ConfigError, MissingError, VerificationError
from align_contracts.hostile import check_model_config, check_signature, check_template_file
from align_contracts.manifest import MAX_MANIFEST_BYTES, Manifest, read_manifest
from align_contracts.nearby import nearby, unfinished
from align_contracts.paths import (
    MANIFEST,
    MAX_FILES,
    SIDECAR,
    Tree,
    check_collisions,
    check_relative,
    list_tree,
    open_inside,
    parents,
    printable,
)
from align_contracts.records import TensorRecord
from align_contracts.safetensors_header import MAX_TENSORS, Tensor, read_header

_INSIDE = f"[!.]*/{MANIFEST}"
_SIDECAR_BYTES = 64 + 2 + len(MANIFEST) + 1


def sidecar_bytes(manifest: bytes) -> bytes:
    """Return the content of `manifest.sha256`, in the form that `sha256sum --check` reads."""
    return f"{sha256_bytes(manifest)}  {MANIFEST}\n".encode()


def verify_quick(root: Path, kinds: tuple[str, ...] = ()) -> tuple[Manifest, dict[str, Any], str]:
    """Check everything about an artifact that does not need reading its files whole.

    Args:
        root: the artifact's directory.
        kinds: those wanted, to be named where it is a directory of artifacts; its own is not checked.

    Returns:
        The typed manifest, the same as plain JSON, and the manifest digest.

    Raises:
        MissingError: when there is no such directory, or it is none of an artifact's: a file, a run, several artifacts.
        VerificationError: naming the artifact and the file.
    """
    if not os.path.exists(root):  # False too for a name that no file system can have
        raise MissingError(f"{root}: no such artifact", do=nearby(root))
    if not root.is_dir():
        inside = f"Give {root.parent}" if os.path.exists(root.parent / MANIFEST) else None
        raise MissingError(f"{root}: an artifact is a directory", do=inside)
    try:
        _require_one(root, kinds)
        return _verify_quick(root)
    except OSError as error:
        if isinstance(error, MissingError):
            raise
        raise VerificationError(f"{root.name}: cannot be read ({error})") from error


def _require_one(root: Path, kinds: tuple[str, ...]) -> None:
    if os.path.lexists(root / MANIFEST):
        return
    if (going := unfinished(root)) is not None:
        raise MissingError(f"{root} is no artifact", do=going)
    if inside := sorted(path.parent for path in root.glob(_INSIDE)):
        fitting = [path for path in inside if claimed(path, "kind") in kinds] or inside
        some = ", ".join(path.name for path in fitting[:8]) + (", …" if len(fitting) > 8 else "")
        raise MissingError(f"{root} is no artifact, it holds some: {printable(some)}", do="Name one of them")


def claimed(path: Path, key: str) -> str | None:
    """Read a text that a manifest claims, cheaply; opening the artifact then proves it. None where there is none."""
    try:
        with open_inside(Path(os.path.realpath(path)), MANIFEST) as file:
            raw = strict_loads(file.read(MAX_MANIFEST_BYTES + 1), MANIFEST)
    except (AlignError, OSError):
        return None
    said = raw.get(key) if isinstance(raw, dict) else None
    return said if isinstance(said, str) else None


def _verify_quick(root: Path) -> tuple[Manifest, dict[str, Any], str]:
    tree = list_tree(root)
    for name in (MANIFEST, SIDECAR):
        if name not in tree.files:
            raise VerificationError(
                f"{root.name}/{name}: missing", do="This is no published artifact, or it lost a file"
            )
    data = _read_manifest_file(root, tree.files[MANIFEST].st_size)
    manifest, raw = read_manifest(data, f"{root.name}/{MANIFEST}")
    check_records(manifest, root.name)
    check_tree(manifest, tree, root.name)
    check_tensors(root, manifest)
    return manifest, raw, sha256_bytes(data)


def verify_deep(root: Path, manifest: Manifest) -> None:
    """Read every file: sha256, strict JSON, no pickle, the Rust safetensors parser, finite weights.

    Args:
        root: a directory that passed `verify_quick`.
        manifest: its manifest.

    Raises:
        ConfigError: when the extra `align-contracts[deep]` is not installed and the artifact has safetensors.
        VerificationError: naming the artifact and the file.
    """
    parser = _rust_parser() if any(_is_safetensors(record.path) for record in manifest.files) else None
    for record in manifest.files:
        where = f"{root.name}/{record.path}"
        with open_inside(root, record.path) as file:
            if (found := sha256_file(file)) != record.sha256:
                raise VerificationError(f"{where}: sha256", expected=record.sha256, got=found)
            check_content(file, record.path, record.size, where)
            if parser is not None and _is_safetensors(record.path):
                _rust_parse(parser, file, where)


def check_content(file: BinaryIO, path: str, size: int, where: str) -> list[Tensor]:
    """Check what one open file holds by its kind; used before publication and by deep verification.

    Args:
        file: the open file; it is read again from its start.
        path: its path in the artifact; the suffix decides the checks.
        size: its length in bytes.
        where: name for messages.

    Returns:
        The tensors of a safetensors file, else an empty list.
    """
    file.seek(0)
    tensors: list[Tensor] = []
    if _is_safetensors(path):
        tensors = read_header(file, size, where)
        check_finite(file, tensors, where)
    elif path.casefold().endswith((".json", ".jsonl")):
        check_json(file, where)
    else:
        check_signature(file, where)
    file.seek(0)
    _check_no_code(file, path, where)
    return tensors


def check_records(manifest: Manifest, name: str) -> None:
    """Check the file, input and metric records of a manifest against each other, without opening a file.

    Args:
        manifest: a manifest that its model accepts.
        name: the artifact's name for messages.
    """
    paths = [record.path for record in manifest.files]
    if len(paths) > MAX_FILES:
        raise VerificationError(f"{name}: too many files", expected=f"at most {MAX_FILES}", got=len(paths))
    if len(manifest.tensors) > MAX_TENSORS:
        raise VerificationError(f"{name}: too many tensors", expected=f"at most {MAX_TENSORS}")
    for path in paths:
        check_relative(path)
    check_collisions(paths)
    if paths != sorted(paths):
        raise VerificationError(f"{name}/{MANIFEST}: files are not sorted by path")
    names = [(tensor.file, tensor.name) for tensor in manifest.tensors]
    if names != sorted(names):
        raise VerificationError(f"{name}/{MANIFEST}: tensors are not sorted by file and name")
    _unique([record.role for record in manifest.files], "file role", name)
    _unique([(metric.name, metric.step) for metric in manifest.metrics], "metric", name)
    for path in manifest.details.named_files():
        if path not in paths:
            raise VerificationError(f"{name}: its details name {path!a}, which is not listed as a file")
    for item in manifest.inputs:
        allowed = INPUT_KINDS.get(item.role)
        if allowed and item.kind not in allowed:
            raise VerificationError(f"{name}: input {item.role!r}", expected=" or ".join(allowed), got=item.kind)


def check_tree(manifest: Manifest, tree: Tree, name: str) -> None:
    """Compare the files on disk with the listed ones: none missing, none unlisted, sizes equal.

    Args:
        manifest: the manifest.
        tree: what `list_tree` found.
        name: the artifact's name for messages.
    """
    listed = {record.path: record for record in manifest.files}
    folders = {folder for path in listed for folder in parents(path)}
    for path in sorted(set(listed) - set(tree.files)):
        raise VerificationError(f"{name}/{path}: missing")
    for path in sorted((set(tree.files) - set(listed) - {MANIFEST, SIDECAR}) | (tree.folders - folders)):
        raise VerificationError(f"{name}/{printable(path)}: not listed in the manifest", do="Remove it")
    for path, record in listed.items():
        if (size := tree.files[path].st_size) != record.size:
            raise VerificationError(f"{name}/{path}: size", expected=f"{record.size} bytes", got=size)


def check_tensors(root: Path, manifest: Manifest) -> None:
    """Compare every safetensors header, and every model config's demands, with the manifest.

    Args:
        root: the artifact's directory.
        manifest: its manifest, whose paths are safe and whose sizes are right.
    """
    index: dict[str, list[TensorRecord]] = {}
    for tensor in manifest.tensors:
        index.setdefault(tensor.file, []).append(tensor)
    for record in manifest.files:
        where = f"{root.name}/{record.path}"
        if _is_safetensors(record.path):
            with open_inside(root, record.path) as file:
                found = tensor_records(record.path, read_header(file, record.size, where))
            if found != index.pop(record.path, []):
                raise VerificationError(f"{where}: its header differs from the manifest's tensor index")
        elif _is_config(record.path) or _is_template(record.path):
            with open_inside(root, record.path) as file:
                _check_no_code(file, record.path, where)
    for path in index:
        raise VerificationError(f"{root.name}/{path}: the tensor index names a file that has no tensors")


def tensor_records(path: str, tensors: list[Tensor]) -> list[TensorRecord]:
    """Return the manifest's index of one file, sorted by tensor name."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    return [TensorRecord(file=path, name=tensor.name, dtype=tensor.dtype, shape=tensor.shape) for tensor in ordered]


def _read_manifest_file(root: Path, size: int) -> bytes:
    where = f"{root.name}/{MANIFEST}"
    if size > MAX_MANIFEST_BYTES:
        raise VerificationError(f"{where}: too large", expected=f"at most {MAX_MANIFEST_BYTES} bytes")
    with open_inside(root, MANIFEST) as file:
        data = file.read(MAX_MANIFEST_BYTES + 1)
    with open_inside(root, SIDECAR) as file:
        sidecar = file.read(_SIDECAR_BYTES + 1)
    if sidecar == sidecar_bytes(data):
        return data
    digits = sidecar[:64]
    if len(sidecar) != _SIDECAR_BYTES or digits.strip(b"0123456789abcdef") or sidecar[64:] != sidecar_bytes(b"")[64:]:
        raise VerificationError(f"{root.name}/{SIDECAR}: damaged", expected="a sha256, two spaces and manifest.json")
    raise VerificationError(f"{where} does not fit {SIDECAR}", expected=digits.decode(), got=sha256_bytes(data))


def _is_safetensors(path: str) -> bool:
    return path.casefold().endswith(".safetensors")


def _is_config(path: str) -> bool:
    return path.casefold().endswith("config.json")


def _is_template(path: str) -> bool:
    return path.casefold().endswith(".jinja")


def _check_no_code(file: BinaryIO, path: str, where: str) -> None:
    if _is_config(path):
        check_model_config(file, where)
    elif _is_template(path):
        check_template_file(file, where)


def _rust_parser() -> Any:
    try:
        _import("numpy")  # the parser's Python side hands out NumPy arrays and does not start without it
        return _import("safetensors")
    except ImportError as error:
        raise ConfigError(
            "deep verification of safetensors needs the extra 'deep'", do="Install align-contracts[deep]"
        ) from error


def _rust_parse(parser: Any, file: BinaryIO, where: str) -> None:
    """Parse the file that is open: under its path another one might stand by now."""
    file.seek(0)  # on macOS the descriptor's position is shared
    try:
        with parser.safe_open(f"/dev/fd/{file.fileno()}", framework="numpy") as opened:
            opened.keys()
    except Exception as error:
        raise VerificationError(f"{where}: the safetensors parser refuses it ({error})") from error


def _unique(values: list[Any], what: str, name: str) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise VerificationError(f"{name}/{MANIFEST}: the {what} {value!r} appears twice")
        seen.add(value)
