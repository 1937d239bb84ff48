"""What every command that makes something can do: say first what it would make, and tell programs what it has made."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align_contracts.artifact import Artifact, open_artifact
from align_contracts.console.fields import Flag
from align_contracts.durable import require_free
from align_contracts.errors import MissingError
from align_contracts.launcher import launched
from align_contracts.leaving import RECORD
from align_contracts.lineage import is_artifact
from align_contracts.nearby import nearby
from align_contracts.paths import MANIFEST

__all__ = ["MAKING", "described", "makes", "rehearse", "reported"]

MAKING = {
    "--dry-run": ("", "Check settings, inputs and target, and stop before anything is made."),
    "--json": ("", "Print what was made as one JSON object; all else goes to standard error."),
}
"""Flags of every command that makes something, unless it has a fuller one of its own: metavar and help."""


def makes(flags: Sequence[Flag]) -> bool:
    """Say whether a command makes something: it cannot do without ``--out``."""
    return any(flag.path == ("out",) and flag.required for flag in flags)


def rehearse(flags: Sequence[Flag], config: Any) -> str:
    """Check what can be known before the work begins; return what would be made.

    Args:
        flags: The command's settings.
        config: Their values.

    Raises:
        AlignError: An input is missing or damaged, or something stands at the target.
    """
    inputs = []
    for flag in flags:
        given = getattr(config, flag.path[0]) if flag.reads else None
        for path in given if isinstance(given, tuple) else [given] if given is not None else []:
            if is_artifact(path):
                open_artifact(path)
            elif not path.exists():
                raise MissingError(f"{flag.names[0]}: there is no {path}", do=nearby(path))
            inputs.append(str(path))
    out = Path(config.out)
    require_free(out, RECORD if (out / RECORD).exists() else MANIFEST, "artifact", overwrite=config.overwrite)
    made_from = f" from {', '.join(inputs)}" if inputs else ""
    return f"{out} can be made{made_from}; nothing was written"


def reported(run: Callable[[], int], out: Path, *, dry: bool) -> int:
    """Run a command, and print one JSON object in place of what it says on standard output.

    Args:
        run: Runs it; returns its exit code.
        out: Where it publishes.
        dry: Whether it only says what it would do.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said if dry else sys.stderr):
        code = run()
    if (place := launched()) is None or place.first:
        told = {"dry_run": True, "said": said.getvalue().splitlines()} if dry else _made(out)
        print(json.dumps(told, ensure_ascii=False))
    return code


def described(artifact: Artifact, path: Path) -> dict[str, Any]:
    """Return an artifact's identity and size, for programs."""
    return {
        "path": str(path),
        "kind": artifact.kind,
        "bytes": sum(item.size for item in artifact.manifest.files),
        "content_digest": artifact.content_digest,
        "manifest_digest": artifact.manifest_digest,
    }


def _made(out: Path) -> dict[str, Any]:
    if not is_artifact(out):  # for other programs, in their layout
        return {"path": str(out)}
    artifact = open_artifact(out)
    return {**described(artifact, out), "metrics": artifact.raw["metrics"]}
