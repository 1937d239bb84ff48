"""Curves as braille characters: each cell of a terminal has 2 × 4 dots."""

from collections.abc import Sequence
from itertools import pairwise

from align_rl.dashboard.curves import Panel

BLANK = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bit of each dot, by column and row from above. Source: Unicode, block Braille Patterns."""
Cell = tuple[str, str, int]
"""A character, and tone and place of the curve whose colour it has; the tone is "" where none passes."""


def draw(panel: Panel, width: int, height: int) -> list[list[Cell]]:
    """Draw a panel's curves without its axes.

    Args:
        panel: what to draw. Cells that several runs pass are dealt out among them in turn, so that none hides another.
        width: characters a line.
        height: lines.

    Returns:
        `height` lines of `width` cells, the uppermost first.
    """
    bits = [[0] * width for _ in range(height)]
    passing: list[list[dict[tuple[str, int], None]]] = [[{} for _ in range(width)] for _ in range(height)]
    for curve in panel.curves:
        places = [_place(point, panel, width * 2, height * 4) for point in curve.points]
        for step, (x, y) in enumerate(_joined(places)):
            if curve.tone == "target" and step % 3:  # dotted
                continue
            row, column = y // 4, x // 2
            bits[row][column] |= DOTS[x % 2][y % 4]
            passing[row][column][curve.tone, curve.place] = None
    return [
        [_cell(dots, list(passing[row][column]), row + column) for column, dots in enumerate(line)]
        for row, line in enumerate(bits)
    ]


def _cell(dots: int, curves: Sequence[tuple[str, int]], turn: int) -> Cell:
    runs = [curve for curve in curves if curve[0] != "target"] or curves
    return (chr(BLANK | dots), *runs[turn % len(runs)]) if runs else (" ", "", 0)


def _place(point: tuple[float, float], panel: Panel, columns: int, rows: int) -> tuple[int, int]:
    """The dot of a point: column from the left, row from above."""
    (left, right), (low, high) = panel.x, panel.y
    x, y = point
    across = round((x - left) / (right - left) * (columns - 1))
    up = round((y - low) / (high - low) * (rows - 1))
    return across, rows - 1 - min(max(up, 0), rows - 1)


def _joined(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Dots on the straight lines between the places, each once in a row."""
    path = list(places[:1])
    for (x0, y0), (x1, y1) in pairwise(places):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        path += [(x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)) for i in range(1, steps + 1)]
    return path
