"""Licences of what an artifact was made from: recorded with the inputs, and a word where one is not known.

Only data and base models come from outside; what training makes from them is under both their terms, so a manifest
repeats the licences of these two kinds. A licence nobody stated is no reason to refuse the work, but whoever passes
the result on must see the gap: it is written as `unknown`.
"""

from __future__ import annotations

import itertools
import json
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


def terms(artifact: Artifact) -> str | None:
    """Return what binds whoever passes an artifact on: its own licence, or all that it was made under, with ``AND``.

    None where nobody has stated any. Source: AND of SPDX licence expressions.
    """
    if artifact.kind in LICENSED:
        return artifact.details.license if artifact.details.license != UNKNOWN else None
    found = sorted({record.license for record in artifact.manifest.inputs if record.license is not None})
    return None if set(found) <= {UNKNOWN} else " AND ".join(f"({one})" if " OR " in one else one for one in found)


def unlicensed(what: str) -> str:
    """Return what is to be said of something whose licence nobody has stated."""
    return f"the licence of {what} is not known; it is written as '{UNKNOWN}'"


def licence_warnings(inputs: Iterable[Artifact]) -> list[str]:
    """Return a sentence for each input whose licence is not known."""
    return [
        f"{unlicensed(f'{artifact.name} ({artifact.kind} from {artifact.details.source})')}. "
        f"Name it with --license when you make {artifact.name}"
        for artifact in dict.fromkeys(inputs)
        if licence(artifact) == UNKNOWN
    ]


def card_lines(licence: str | None) -> list[str]:
    """Give the lines of a card's front matter that name a licence; several are written as one the hub does not know."""
    if licence is None:
        return []
    name = licence.lower()
    if " " not in name:
        return [f"license: {json.dumps(name)}"]  # a JSON string is a YAML string
    return ["license: other", f"license_name: {json.dumps(name.replace(' ', '-'))}"]


def card_licence(path: Path) -> str | None:
    """Give the licence that a card names in its front matter (``license:`` in a folder's README.md), or None.

    Where that is ``other``, the card's ``license_name``.
    """
    card = path / "README.md"
    if not card.exists():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    head = (line.partition(":") for line in itertools.takewhile(lambda line: line.strip() != "---", lines[1:]))
    stated = {name: value.strip().strip("'\"") for name, _, value in head}
    licence = stated.get("license")
    return (stated.get("license_name") if licence == "other" else None) or licence or None
