"""Licences of what an artifact was made from: recorded with the inputs, and a word where one is not known.

Only data and base models come from outside; what training makes from them is under both their terms, so a manifest
repeats the licences of these two kinds. A licence nobody stated is no reason to refuse the work, but whoever passes
the result on must see the gap: it is written as `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from align_contracts.artifact import Artifact

UNKNOWN = "unknown"
LICENSED = frozenset({"dataset", "base_model"})
"""Kinds that have a licence of their own."""


def licence(artifact: Artifact) -> str | None:
    """Return the licence of a dataset or base model, `unknown` when it states none; None for other kinds."""
    if artifact.kind not in LICENSED:
        return None
    return artifact.details.license or UNKNOWN


def licence_warnings(inputs: Iterable[Artifact]) -> list[str]:
    """Return a sentence for each input whose licence is not known."""
    return [
        f"the licence of {artifact.name} ({artifact.kind} from {artifact.details.source}) is not known; it is written "
        f"as '{UNKNOWN}'. Name it with --license when you make {artifact.name}"
        for artifact in dict.fromkeys(inputs)
        if licence(artifact) == UNKNOWN
    ]


def card_licence(path: Path) -> str | None:
    """Give the licence that a card names in its front matter (``license:`` in a folder's README.md), or None."""
    card = path / "README.md"
    if not card.exists():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        name, _, value = line.partition(":")
        if name == "license" and value.strip():
            return value.strip().strip("'\"")
    return None
