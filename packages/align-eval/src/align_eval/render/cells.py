"""Table cells from numbers: text to read, value to sort by, keys of where the number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.render import text
from align_eval.render.document import Cell, Column, Keys

Json = Mapping[str, Any]


def columns(words: Sequence[str], *numbers: str) -> tuple[Column, ...]:
    """Columns of words, then columns of numbers."""
    return (*(Column(name) for name in words), *(Column(name, True) for name in numbers))


def plain(words: object, tone: str = "") -> Cell:
    """A cell of words."""
    return Cell(str(words), tone=tone)


def run(row: Json) -> Cell:
    """The name of a run or method, in its colour."""
    return Cell(text.run_name(row["label"]), tone=row["method"])


def method(name: str, suffix: str = "") -> Cell:
    """The name of a method, in its colour."""
    return Cell(text.method(name) + suffix, tone=name)


def count(value: float | None, keys: Keys = ()) -> Cell:
    """A whole number."""
    return Cell(text.MISSING if value is None else f"{value:.0f}", value, keys)


def number(value: float | None, keys: Keys = (), digits: int = 3) -> Cell:
    """A number with so many significant digits."""
    return Cell(text.number(value, digits), value, keys)


def fixed(value: float | None, keys: Keys = (), digits: int = 2) -> Cell:
    """A number with so many decimals."""
    return Cell(text.fixed(value, digits), value, keys)


def percent(value: float | None, keys: Keys = ()) -> Cell:
    """A share."""
    return Cell(text.percent(value), value, keys)


def share(value: float | None, interval: Sequence[float] | None, keys: Keys = ()) -> Cell:
    """A share with its interval."""
    return Cell(text.share(value, interval), value, keys)


def estimate(
    value: float | None, interval: Sequence[float] | None, keys: Keys = (), scale: float = 1.0, digits: int = 2
) -> Cell:
    """A number with its interval, both times a factor."""
    scaled = None if value is None else scale * value
    return Cell(f"{text.fixed(scaled, digits)} {text.span(interval, scale, digits)}".strip(), value, keys)


def spread(found: Json | None, keys: Keys = (), scale: float = 1.0, digits: int = 2) -> Cell:
    """Mean ± sd over seeds of {value, sd}, both times a factor."""
    if not found or found.get("value") is None:
        return Cell(text.MISSING)
    value, sd = found["value"], found.get("sd")
    return Cell(text.plus_minus(scale * value, None if sd is None else scale * sd, digits), value, keys)
