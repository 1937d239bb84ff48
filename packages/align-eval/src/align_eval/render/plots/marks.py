"""What plots are made of. x runs to the right and y down, in points; colours are names (see `style.TONES`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through points; `tip` is shown when it is pointed at, `series` is what a legend can hide."""

    points: tuple[Point, ...]
    tone: str = "ink"
    width: float = 1.0
    dash: tuple[float, ...] = ()
    opacity: float = 1.0
    series: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: tuple[Point, ...]
    tone: str = "pale"
    opacity: float = 1.0
    series: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Dot:
    """A circle, diamond or star of radius r; hollow ones are filled with the page's colour."""

    x: float
    y: float
    r: float = 3.0
    tone: str = "ink"
    shape: str = "circle"
    hollow: bool = False
    opacity: float = 1.0
    series: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Text:
    """A line of text on a baseline; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    tone: str = "muted"
    size: float = 11.5
    anchor: str = "start"
    bold: bool = False
    series: str = ""


Mark = Line | Area | Dot | Text


def box(x: float, y: float, width: float, height: float, tone: str, **more: object) -> Area:
    """A rectangle by its upper left corner."""
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return replace(Area(corners, tone), **more)  # type: ignore[arg-type]


def moved(marks: Sequence[Mark], dx: float, dy: float) -> list[Mark]:
    """The same marks elsewhere."""
    found: list[Mark] = []
    for mark in marks:
        if isinstance(mark, (Line, Area)):
            found.append(replace(mark, points=tuple((x + dx, y + dy) for x, y in mark.points)))
        else:
            found.append(replace(mark, x=mark.x + dx, y=mark.y + dy))
    return found
