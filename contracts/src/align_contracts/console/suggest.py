"""The nearest known name for a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "suggest"]


def _plain(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def suggest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name closest to ``name``, or None when nothing is close.

    Dashes, underscores and case are ignored, so ``--Learning_rate`` finds ``--learning-rate``.

    Args:
        name: What the user wrote.
        known: The names that exist.
    """
    originals: dict[str, str] = {}
    for candidate in known:
        originals.setdefault(_plain(candidate), candidate)
    longer = [candidate for candidate in originals if candidate.endswith(f"_{_plain(name)}")]
    if len(longer) == 1:  # `rank` is `lora_rank`, and not the `track` that looks more like it
        return originals[longer[0]]
    close = difflib.get_close_matches(_plain(name), originals, n=1, cutoff=0.6)
    return originals[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """Return ``Did you mean X?`` when a known name is close, else ``otherwise``."""
    best = suggest(name, known)
    return f"Did you mean {best}?" if best is not None else otherwise
