"""Whether a text that names a model or a dataset means a path here or a name of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from align_contracts.errors import MissingError, sentences
from align_contracts.nearby import nearby

__all__ = ["HUB", "means_path", "require_directory"]

HUB = "hf:"
"""Begins a name that is the hub's whatever lies here."""
_FILES = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".safetensors")


def means_path(text: str) -> bool:
    """Say whether a text is a path: it is there, or it looks like one and like no ``OWNER/NAME``.

    Also where the directory ``OWNER`` is here: then a slip in its second part is likelier than a model of that owner,
    and `HUB` in front says otherwise.
    """
    if text.startswith(HUB):
        return False
    path = Path(text)
    looks = text.startswith((".", "~")) or path.is_absolute() or text.count("/") > 1 or text.endswith(_FILES)
    return looks or path.exists() or ("/" in text and path.parent.is_dir())


def require_directory(given: str | Path, expected: str) -> None:
    """Refuse a path that leads to no directory.

    Args:
        given: The path, as it was written.
        expected: What would be right.

    Raises:
        MissingError: There is none.
    """
    path = Path(given)
    if path.is_file():
        raise MissingError(f"{given} is a file", expected=expected, do=f"Give the directory: {path.parent}")
    if not path.is_dir():
        hub = f"{given}".count("/") == 1 and f"{given}"[0] not in "./~"
        advice = sentences(f"For the hub's, write {HUB}{given}" if hub else None, nearby(path.expanduser()))
        raise MissingError(f"no directory {given}", expected=expected, do=advice or None)
