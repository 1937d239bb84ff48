"""Estimates with their intervals, one a row, and shares that add up to a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align_eval.render.plots.marks import Dot, Line, Mark, Text, box
from align_eval.render.plots.scale import Scale, extent, labels, ticks

BOTTOM = 32.0
LINE = 22.0
"""Height of a row in points."""
HALF_LETTER = 2.9
"""Half the width of a letter of an axis' title, in points, roughly."""


@dataclass(frozen=True)
class Estimate:
    """A row: its name, the estimate with its interval (None: not there), a tone, what stands at the right."""

    name: str
    value: float | None
    interval: Sequence[float] | None
    tone: str
    text: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Forest:
    """Estimates along one axis.

    Attributes:
        rows: From top to bottom.
        axis: What the axis is.
        null: Value of no difference, drawn as a line.
        percent: Whether values are shares.
        least: Range that is shown at the least.
        left: Room for the names.
        right: Room for the texts at the right.
    """

    rows: Sequence[Estimate]
    axis: str
    null: float
    percent: bool = False
    least: tuple[float, float] | None = None
    left: float = 122.0
    right: float = 116.0

    @property
    def height(self) -> float:
        """Its natural height in points."""
        return LINE * len(self.rows) + BOTTOM + 6


def draw(plot: Forest, width: float, height: float) -> list[Mark]:
    """Draw into a rectangle; rows share the height.

    Args:
        plot: What to draw.
        width: In points.
        height: In points.

    Returns:
        Marks inside the rectangle.
    """
    step = (height - BOTTOM - 6) / max(1, len(plot.rows))
    known = [v for row in plot.rows for v in (*(row.interval or ()), row.value) if v is not None]
    low, high = extent([*known, plot.null, *(plot.least or ())], pad=0.03)
    if plot.percent:
        low, high = max(0.0, low), min(1.0, high)
    x = Scale(low, high, plot.left, width - plot.right)
    bottom = height - BOTTOM
    marks: list[Mark] = []
    at = ticks(low, high, max(2, min(7, int((width - plot.left - plot.right) / 44))))
    for tick, label in zip(at, labels(at, plot.percent), strict=True):
        marks += [Line(((x(tick), 2), (x(tick), bottom)), "rule", 0.8)]
        marks += [Text(x(tick), bottom + 13, label, anchor="middle")]
    marks += [Line(((x(plot.null), 2), (x(plot.null), bottom)), "muted", 1.2)]
    half = HALF_LETTER * len(plot.axis)  # in a narrow drawing a long title moves inwards
    centre = max(half, min(width - half, (plot.left + width - plot.right) / 2))
    marks += [Text(centre, height - 4, plot.axis, anchor="middle")]
    for place, row in enumerate(plot.rows):
        marks += _row(row, x, 4 + (place + 0.5) * step, width)
    return marks


def _row(row: Estimate, x: Scale, y: float, width: float) -> list[Mark]:
    marks: list[Mark] = [Text(0, y + 4, row.name, row.tone, 11, bold=row.strong)]
    tip = f"{row.name}: {row.text}"
    if row.interval is not None:
        ends = ((x(row.interval[0]), y), (x(row.interval[1]), y))
        marks.append(Line(ends, row.tone, 4.0 if row.strong else 2.2, opacity=0.55, tip=tip))
    if row.value is not None:
        shape, r = ("diamond", 5.6) if row.strong else ("circle", 4.2)
        marks.append(Dot(x(row.value), y, r, row.tone, shape, tip=tip))
    marks.append(Text(width, y + 4, row.text, "ink", 10.5, "end", row.strong))
    return marks


@dataclass(frozen=True)
class Parts:
    """Bars of 100 %: (name, tone of the name, [(share, tone of the part, what it is), …])."""

    rows: Sequence[tuple[str, str, Sequence[tuple[float, str, str]]]]
    left: float = 122.0

    @property
    def height(self) -> float:
        """Its natural height in points."""
        return LINE * len(self.rows) + BOTTOM - 8


def draw_parts(plot: Parts, width: float, height: float) -> list[Mark]:
    """Draw bars into a rectangle, with the shares in per cent in them where there is room."""
    step = (height - BOTTOM + 8) / max(1, len(plot.rows))
    x = Scale(0.0, 1.0, plot.left, width - 22)
    marks: list[Mark] = []
    for place, (name, tone, parts) in enumerate(plot.rows):
        y, start = place * step, 0.0
        marks.append(Text(0, y + step / 2 + 4, name, tone, 11))
        for share, fill, what in parts:
            left, right = x(start), x(start + share)
            tip = f"{name}: {what} {100 * share:.1f} %"
            marks.append(box(left, y + 2.5, max(0.0, right - left - 1), step - 5, fill, tip=tip))
            if right - left > 22:
                ink = "onfill" if fill in ("ppo", "grpo", "null", "sft") else "ink"
                marks.append(Text((left + right) / 2, y + step / 2 + 4, f"{100 * share:.0f}", ink, 10.5, "middle"))
            start += share
    at = [0.0, 0.25, 0.5, 0.75, 1.0]
    marks += [Text(x(t), height - 8, label, anchor="middle") for t, label in zip(at, labels(at, True), strict=True)]
    return marks
