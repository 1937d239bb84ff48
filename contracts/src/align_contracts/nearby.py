"""What lies near a path where nothing is: for messages that help to find what was meant."""

from __future__ import annotations

import difflib
from pathlib import Path

from align_contracts.paths import printable

__all__ = ["nearby"]

_SHOWN = 6


def nearby(path: Path) -> str | None:
    """Return a sentence about what is there instead of a path that leads nowhere; None where that says nothing.

    Args:
        path: Where nothing is.
    """
    try:
        place = path.parent
        if not place.is_dir():
            while not place.is_dir() and place != place.parent:
                place = place.parent
            return f"There is no directory {printable(str(path.parent))}. {_inside(place) or ''}".strip()
        close = difflib.get_close_matches(path.name, [one.name for one in place.iterdir()], n=1, cutoff=0.6)
        return f"Did you mean {printable(str(place / close[0]))}?" if close else _inside(place)
    except (OSError, ValueError):  # a directory that may not be read, a name that no file system can have
        return None


def _inside(place: Path) -> str | None:
    names = sorted(one.name for one in place.iterdir() if not one.name.startswith("."))
    if not names:
        return None
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"In {printable(str(place))} there is {printable(shown)}"
