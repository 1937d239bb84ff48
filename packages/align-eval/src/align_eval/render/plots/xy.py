"""Curves and points over two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from align_eval.render.plots.marks import Area, Dot, Line, Mark, Point, Text
from align_eval.render.plots.scale import Scale, extent, labels, ticks
from align_eval.render.text import number, percent

LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 26.0, 36.0


@dataclass(frozen=True)
class Curve:
    """A line, with a band from `low` to `high` where given.

    Attributes:
        name: What it is, for the tips of its points.
        points: (x, y), by x.
        tone: Colour.
        series: What the legend hides.
        dash: Pattern of the line.
        width: Of the line; 0 for points alone.
        opacity: Of the line.
        r: Radius of its points; 0 for none.
        band: (x, low, high), by x.
    """

    name: str
    points: tuple[Point, ...]
    tone: str
    series: str = ""
    dash: tuple[float, ...] = ()
    width: float = 1.5
    opacity: float = 1.0
    r: float = 0.0
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Spot:
    """A point that stands out."""

    name: str
    x: float
    y: float
    tone: str
    series: str = ""
    shape: str = "circle"
    r: float = 4.5
    hollow: bool = False


@dataclass(frozen=True)
class Plot:
    """What is drawn, and what its axes are called.

    Attributes:
        x: Name of the horizontal axis.
        y: Name of the vertical axis, written above it.
        curves: Lines.
        spots: Points on top.
        rules: (y, what it is): horizontal lines.
        steps: A stepped line, such as a target; with its name.
        x_zero: Whether x begins at 0.
        y_zero: Whether y contains 0.
        y_percent: Whether y is a share.
        x_percent: Whether x is a share.
        missing: What to say where there is nothing to draw.
    """

    x: str
    y: str
    curves: Sequence[Curve] = ()
    spots: Sequence[Spot] = ()
    rules: Sequence[tuple[float, str]] = ()
    steps: Sequence[Point] = ()
    x_zero: bool = True
    y_zero: bool = False
    y_percent: bool = False
    x_percent: bool = False
    missing: str = "nothing measured"


def draw(plot: Plot, width: float, height: float) -> list[Mark]:
    """Draw into a rectangle.

    Args:
        plot: What to draw.
        width: In points.
        height: In points.

    Returns:
        Marks inside the rectangle.
    """
    places = [p for c in plot.curves for p in c.points] + [(s.x, s.y) for s in plot.spots]
    if not places:
        return [Text(width / 2, height / 2, plot.missing, anchor="middle")]
    ys = [y for _, y in (*places, *plot.steps)] + [v for c in plot.curves for _, *ends in c.band for v in ends]
    ys += [value for value, _ in plot.rules]
    x_low, x_high = extent((x for x, _ in places), zero=plot.x_zero, pad=0.04)
    y_low, y_high = extent(ys, zero=plot.y_zero)
    if plot.y_percent:
        y_low, y_high = max(0.0, y_low), min(1.0, y_high)
    x, y = Scale(x_low, x_high, LEFT, width - RIGHT), Scale(y_low, y_high, height - BOTTOM, TOP)
    marks = _axes(plot, x, y, width, height)
    if plot.steps:
        marks.append(Line(_stepped(plot.steps, x, y), "ink", 1.1, (4, 3), tip="KL target"))
    for curve in plot.curves:
        marks += _curve(curve, plot, x, y)
    for spot in plot.spots:
        tip = f"{spot.name}: {_tip(plot, spot.x, spot.y)}"
        marks.append(Dot(x(spot.x), y(spot.y), spot.r, spot.tone, spot.shape, spot.hollow, 1.0, spot.series, tip))
    return marks


def _axes(plot: Plot, x: Scale, y: Scale, width: float, height: float) -> list[Mark]:
    marks: list[Mark] = [Text(0, 11, plot.y)]
    at = ticks(y.low, y.high, 7)
    for tick, label in zip(at, labels(at, plot.y_percent), strict=True):
        marks += [Line(((LEFT, y(tick)), (width - RIGHT, y(tick))), "rule", 0.8)]
        marks += [Text(LEFT - 6, y(tick) + 3.6, label, anchor="end")]
    at = ticks(x.low, x.high, 7)
    for tick, label in zip(at, labels(at, plot.x_percent), strict=True):
        marks += [Line(((x(tick), height - BOTTOM), (x(tick), height - BOTTOM + 4)), "muted", 0.8)]
        marks += [Text(x(tick), height - BOTTOM + 15, label, anchor="middle")]
    marks.append(Line(((LEFT, height - BOTTOM), (width - RIGHT, height - BOTTOM)), "muted", 0.8))
    marks.append(Text(width - RIGHT, height - 3, plot.x, anchor="end"))
    for value, name in plot.rules:
        marks += [Line(((LEFT, y(value)), (width - RIGHT, y(value))), "muted", 1.0, (2, 3))]
        marks += [Text(width - RIGHT, y(value) - 4, name, anchor="end", size=9.5)] if name else []
    return marks


def _stepped(steps: Sequence[Point], x: Scale, y: Scale) -> tuple[Point, ...]:
    found: list[Point] = []
    for (start, value), (end, _) in zip(steps, [*steps[1:], (x.high, 0.0)], strict=True):
        found += [(x(start), y(value)), (x(end), y(value))]
    return tuple(found)


def _curve(curve: Curve, plot: Plot, x: Scale, y: Scale) -> list[Mark]:
    marks: list[Mark] = []
    if curve.band:
        upper = [(x(at), y(high)) for at, _, high in curve.band]
        lower = [(x(at), y(low)) for at, low, _ in curve.band]
        marks.append(Area((*upper, *reversed(lower)), curve.tone, 0.16, curve.series, f"{curve.name}: seed to seed"))
    places = tuple((x(a), y(b)) for a, b in curve.points)
    if curve.width and len(places) > 1:
        line = Line(places, curve.tone, curve.width, curve.dash, curve.opacity, curve.series, curve.name)
        marks.append(line)
    if curve.r or len(places) == 1:
        base = Dot(0, 0, curve.r or 3.0, curve.tone, opacity=curve.opacity, series=curve.series)
        for (a, b), (px, py) in zip(curve.points, places, strict=True):
            marks.append(replace(base, x=px, y=py, tip=f"{curve.name}: {_tip(plot, a, b)}"))
    return marks


def _tip(plot: Plot, x: float, y: float) -> str:
    shown = [percent(v) if share else number(v) for v, share in ((x, plot.x_percent), (y, plot.y_percent))]
    return f"{plot.x} {shown[0]}, {plot.y} {shown[1]}"
