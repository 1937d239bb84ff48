"""Tables on paper: columns as wide as their words need, rows that break over pages under a repeated header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

from align_eval.render.document import Cell, Column, Row, Table
from align_eval.render.paper import LEADING, MARGIN, ROOM, Paper, text_width, wrap
from align_eval.render.sources import short
from align_eval.render.text import glued

PAD, GAP = 2.8, 5.0
SIZES = (8.0, 7.5, 7.0, 6.6)
"""Letter sizes that a table may have."""


def with_sources(table: Table) -> Table:
    """The same table with a last column of the keys of each row's sources, if any row has some."""
    keys = [short([key for cell in row.cells for key in cell.sources]) for row in table.rows]
    if not any(keys):
        return table
    rows = [replace(row, cells=(*row.cells, Cell(key))) for row, key in zip(table.rows, keys, strict=True)]
    return replace(table, columns=(*table.columns, Column("source")), rows=rows)


def folded(table: Table) -> Table:
    """The same rows, several side by side."""
    if table.fold == 1:
        return table
    height = ceil(len(table.rows) / table.fold)
    empty = (Cell(""),) * len(table.columns)
    rows = []
    for place in range(height):
        parts = [
            table.rows[i].cells if i < len(table.rows) else empty for i in range(place, height * table.fold, height)
        ]
        rows.append(Row(tuple(cell for part in parts for cell in part)))
    return replace(table, columns=table.columns * table.fold, rows=rows, fold=1)


def widths(table: Table, room: float, size: float) -> list[float] | None:
    """Widths of the columns: at least the longest word, at most the longest text, the room between shared.

    Args:
        table: The table.
        room: Width of the whole, in points.
        size: Letter size.

    Returns:
        A width a column, or None if the words do not fit.
    """
    least, most = [], []
    for place, column in enumerate(table.columns):
        texts = [(row.cells[place].text, row.strong) for row in table.rows] + [(column.name, False)]
        words = [(word, bold) for text, bold in texts for word in glued(text).split(" ")]
        least.append(max(min(text_width(word, size, bold), room / 3) for word, bold in words) + 2 * GAP)
        most.append(max(text_width(glued(text), size, bold) for text, bold in texts) + 2 * GAP)
        # One long text does not push the other columns to the edge.
        most[-1] = max(least[-1], min(most[-1], 0.34 * room))
    if sum(least) > room:
        return None
    spare, wanted = room - sum(least), sum(most) - sum(least)
    share = min(1.0, spare / wanted) if wanted > 0 else 0.0
    return [low + share * (high - low) for low, high in zip(least, most, strict=True)]


def _fit(table: Table) -> tuple[float, list[float]]:
    """Letter size and widths; a smaller size only where it saves a sixth of the lines, or where nothing else fits."""
    fitting = [(size, found) for size in SIZES if (found := widths(table, ROOM, size)) is not None]
    if not fitting:
        return SIZES[-1], [ROOM / len(table.columns)] * len(table.columns)
    counts = [sum(max(map(len, _lines(row, found, size))) for row in table.rows) for size, found in fitting]
    return next(one for one, count in zip(fitting, counts, strict=True) if count <= min(counts) / (1 - 1 / 6))


def start(table: Table) -> float:
    """Height that a table wants to begin with: all of a short one, the first rows of a long one."""
    size, columns = _fit(table)
    rows = table.rows if len(table.rows) <= 10 else table.rows[:4]
    return sum(_height(row, columns, size) for row in rows) + 2 * size * LEADING + 2 * PAD


def draw(paper: Paper, table: Table) -> None:
    """Draw a table below what stands on the page.

    Args:
        paper: The pages.
        table: The table, folded and with sources as it is to be seen.
    """
    size, columns = _fit(table)
    header = Row(tuple(Cell(column.name, tone="muted") for column in table.columns))
    paper.need(start(table))
    _row(paper, header, table.columns, columns, size, "muted")
    for row in table.rows:
        if paper.left < _height(row, columns, size):
            paper.new_page()
            _row(paper, header, table.columns, columns, size, "muted")
        _row(paper, row, table.columns, columns, size, "rule")
    paper.y += 6


def _lines(row: Row, columns: Sequence[float], size: float) -> list[list[str]]:
    return [wrap(c.text, w - 2 * GAP + 0.01, size, row.strong) for c, w in zip(row.cells, columns, strict=True)]


def _height(row: Row, columns: Sequence[float], size: float) -> float:
    return max(map(len, _lines(row, columns, size))) * size * LEADING + 2 * PAD


def _row(paper: Paper, row: Row, heads: Sequence[Column], columns: Sequence[float], size: float, rule: str) -> None:
    height, x = _height(row, columns, size), MARGIN
    for cell, head, width, lines in zip(row.cells, heads, columns, _lines(row, columns, size), strict=True):
        place, anchor = (x + width - GAP, "end") if head.number else (x + (0 if x == MARGIN else GAP), "start")
        for n, line in enumerate(lines):
            y = paper.y + PAD + (n + 1) * size * LEADING - 0.32 * size
            paper.text(place, y, line, size, cell.tone or "ink", bold=row.strong, anchor=anchor)
        x += width
    paper.y += height
    paper.rule(paper.y, rule, sum(columns))
