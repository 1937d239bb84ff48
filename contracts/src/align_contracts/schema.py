"""JSON Schemas of the manifests, one file a kind, for readers that are not Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from align_contracts.canonical import strict_loads
from align_contracts.durable import make_directory
from align_contracts.errors import VerificationError
from align_contracts.manifest import MAJOR, MANIFESTS, MINOR

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = f"v{MAJOR}.{MINOR}"
"""Directory of the current version below the schemas' root; older versions keep theirs."""


def json_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of one kind's manifest at the current version.

    Raises:
        VerificationError: for an unknown kind.
    """
    if kind not in MANIFESTS:
        raise VerificationError("unknown artifact kind", expected=" | ".join(MANIFESTS), got=repr(kind))
    schema = MANIFESTS[kind].model_json_schema()
    schema["properties"]["schema_version"] = {
        "type": "object",
        "properties": {"major": {"const": MAJOR}, "minor": {"const": MINOR}},
        "required": ["major", "minor"],
        "additionalProperties": False,
    }
    return {"$schema": DIALECT, "$id": f"align/{VERSION}/{kind}.json", **schema}


def schema_files() -> dict[str, bytes]:
    """Return {file name relative to the schemas' root: content} of all kinds at the current version."""
    return {
        f"{VERSION}/{kind}.json": (json.dumps(json_schema(kind), indent=2, sort_keys=True) + "\n").encode()
        for kind in sorted(MANIFESTS)
    }


def write_schemas(root: Path) -> list[Path]:
    """Write all schemas of the current version below a directory and return their paths."""
    written = []
    for name, content in schema_files().items():
        path = root / name
        make_directory(path.parent, parents=True)
        path.write_bytes(content)
        written.append(path)
    return written


def compare_schemas(root: Path) -> list[str]:
    """Compare committed schemas with what the models say now.

    Args:
        root: the schemas' root.

    Returns:
        One sentence for each file that is missing, differs or does not belong; empty when all agree.
    """
    wanted = schema_files()
    problems = []
    for name, content in wanted.items():
        path = root / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.read_bytes() != content:
            what = "other bytes" if _same(path, content) else "another schema"
            problems.append(f"{name}: holds {what} than the models give")
    folder = root / VERSION
    extra = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    problems += [f"{VERSION}/{name}: no such kind" for name in extra if f"{VERSION}/{name}" not in wanted]
    return problems


def _same(path: Path, content: bytes) -> bool:
    try:
        return bool(strict_loads(path.read_bytes(), path.name) == json.loads(content))
    except VerificationError:
        return False
