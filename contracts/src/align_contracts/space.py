"""Whether the disk has room for what a run will write, asked before it begins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from align_contracts.errors import PreflightError

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
MARGIN = 1.05
"""More than the estimate: headers, manifests, logs, blocks."""


def require_space(target: Path, parts: Mapping[str, int], *, there: Path | None = None) -> None:
    """Check that the file system of a target has room for everything a run will have on it at once.

    Args:
        target: where the artifact will be published; it need not exist.
        parts: bytes by what they are for, such as ``{"16 evaluation points": 123}``.
        there: a directory that holds some of it already, from before the run was interrupted.

    Raises:
        PreflightError: there is less room, naming what is needed for what.
    """
    needed, free = int(MARGIN * sum(parts.values())), free_bytes(target) + (tree_bytes(there) if there else 0)
    if needed > free:
        listed = ", ".join(f"{name} {amount(size)}" for name, size in parts.items() if size)
        raise PreflightError(
            f"{target} needs more disk than there is",
            expected=f"{amount(needed)} ({listed})",
            got=f"{amount(free)} free",
            do="Free some space, or write to another disk with --out",
        )


def free_bytes(target: Path) -> int:
    """Return the bytes that are free where a target will be, which need not exist."""
    there = next(path for path in (target, *target.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def tree_bytes(root: Path) -> int:
    """Return the bytes of all files below a directory, which need not exist."""
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())


def jsonl_bytes(rows: Iterable[Mapping[str, Any]]) -> int:
    """Return the bytes of a JSON-lines file of these rows."""
    return sum(len(json.dumps(row, ensure_ascii=False).encode(errors="replace")) + 1 for row in rows)


def amount(size: float) -> str:
    """Write bytes as people read them, in the largest unit of which there is one: ``310.5 KiB``, ``12 MiB``."""
    power = next((power for power in range(len(UNITS)) if size < 1024 ** (power + 1)), len(UNITS) - 1)
    return f"{size / 1024**power:.4g} {UNITS[power]}"
