"""What an unknown name may have meant: a flag of another program or of another command, or a slip of the finger."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = ["did_you_mean", "plain", "suggest"]

_CLOSE, _VERY_CLOSE = 0.6, 0.85


def plain(name: str) -> str:
    """Return a flag's or setting's name without its dashes and its case: ``--Learning-rate`` is ``learning_rate``."""
    return name.lstrip("-").replace("-", "_").lower()


def suggest(name: str, known: Iterable[str], likeness: float = _CLOSE) -> str | None:
    """Return the known name closest to ``name``, or None when nothing is close.

    Dashes, underscores and case are ignored, so ``--Learning_rate`` finds ``--learning-rate``.

    Args:
        name: What the user wrote.
        known: The names that exist.
        likeness: From 0, anything, to 1, the same.
    """
    originals: dict[str, str] = {}
    for candidate in known:
        originals.setdefault(plain(candidate), candidate)
    longer = [candidate for candidate in originals if candidate.endswith(f"_{plain(name)}")]
    if len(longer) == 1:  # `rank` is `lora_rank`, and not the `track` that looks more like it
        return originals[longer[0]]
    close = difflib.get_close_matches(plain(name), originals, n=1, cutoff=likeness)
    return originals[close[0]] if close else None


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str | None = None, others: Mapping[str, Iterable[str]] | None = None
) -> str | None:
    """Return what to do about an unknown name: ``Did you mean X?``, or whose it is, else ``otherwise``.

    Args:
        name: What the user wrote.
        known: The names that exist.
        otherwise: What to say when nothing is close.
        others: Names that exist elsewhere, by where.
    """
    known = list(known)
    owners = [owner for owner, names in (others or {}).items() if plain(name) in map(plain, names)]
    best = suggest(name, known, _VERY_CLOSE if owners else _CLOSE)
    said = [f"It belongs to {' and '.join(owners)}"] if owners else []
    said += [f"Did you mean {best}?"] if best is not None else []
    return ". ".join(said) or otherwise
