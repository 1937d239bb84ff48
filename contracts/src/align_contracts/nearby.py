"""What lies near a path where nothing is: for messages that help to find what was meant."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from align_contracts.paths import printable

__all__ = ["closest", "inside", "nearby", "unfinished"]

_SHOWN = 6


def nearby(path: Path) -> str | None:
    """Return a sentence about what is there instead of a path that leads nowhere; None where that says nothing.

    Args:
        path: Where nothing is.
    """
    place = path.parent
    if not os.path.isdir(place):
        while not os.path.isdir(place) and place != place.parent:
            place = place.parent
        found = inside(place)
        return f"There is no directory {printable(str(path.parent))}." + (f" {found}" if found else "")
    return unfinished(path) or closest(path) or inside(place)


def unfinished(path: Path) -> str | None:
    """Say that a path is a run's that is not finished, or the folder of one: ``.NAME.run``; else None."""
    name = path.name
    hidden = name.startswith(".") and name.endswith(".run")
    if not hidden and not os.path.isdir(path.parent / f".{name}.run"):
        return None
    out = path.parent / name[1:-4] if hidden else path
    return f"The run of {printable(str(out))} is not finished: its command, given again, continues it"


def closest(path: Path, suffix: str = "") -> str | None:
    """Ask whether the name most like a path's was meant; None where none is like it.

    Args:
        path: Where nothing is.
        suffix: What the names must end with; the likeness is that of the rest.
    """
    names = {name.removesuffix(suffix): name for name in _names(path.parent, suffix)}
    close = difflib.get_close_matches(path.name.removesuffix(suffix), names, n=1, cutoff=0.6)
    return f"Did you mean {printable(str(path.parent / names[close[0]]))}?" if close else None


def inside(place: Path, suffix: str = "") -> str | None:
    """Say what is in a directory, what is hidden left out; None where there is nothing.

    Args:
        place: The directory.
        suffix: What the names must end with.
    """
    names = _names(place, suffix)
    if not names:
        return None
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"In {printable(str(place))} there is {printable(shown)}"


def _names(place: Path, suffix: str) -> list[str]:
    try:
        return sorted(one.name for one in place.iterdir() if one.name.endswith(suffix) and not one.name.startswith("."))
    except (OSError, ValueError):  # a directory that may not be read, a name that no file system can have
        return []
