"""The report as PDF, with the words and plots of the document. Equal documents give equal bytes."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages

from align_eval.render import grid, spoken, style
from align_eval.render.document import (
    Answers,
    Block,
    Cell,
    Column,
    Document,
    Figure,
    Paragraph,
    Row,
    Section,
    Table,
    Tabs,
    Tiles,
)
from align_eval.render.paper import LEADING, MARGIN, READ, ROOM, WIDTH, Paper, text_width, wrap
from align_eval.render.sources import short
from align_eval.render.svg import swatch_marks
from align_eval.render.text import glued

GUTTER = 22.0


def draw_pdf(document: Document, path: Path) -> list[float]:
    """Write the report.

    Args:
        document: What stands in it.
        path: Where to.

    Returns:
        How far down each page is filled, in points.
    """
    metadata = {"Title": document.title, "Creator": "align-eval", "Producer": None, "CreationDate": None}
    with matplotlib.rc_context(style.RC), PdfPages(path, metadata=metadata) as pdf:
        paper = Paper(pdf, f"align · {document.title} · {document.subtitle}")
        paper.new_page()
        paper.lines([document.subtitle], MARGIN, 9, "muted")
        paper.y += 8
        paper.lines(wrap(document.answer.text, ROOM, 16, True), MARGIN, 16, bold=True)
        paper.y += 6
        _paragraph(paper, document.caveat, 9.5)
        for section in document.sections:
            _section(paper, section)
        _section(paper, _sources(document))
        paper.close()
    return paper.filled


def _sources(document: Document) -> Section:
    rows = [
        Row(tuple(Cell(text) for text in (one.key, one.name, one.role, one.digest[:24]))) for one in document.sources
    ]
    columns = tuple(Column(name) for name in ("key", "artifact", "role", "content digest"))
    lead = "The keys in the columns named source stand for these artifacts."
    return Section("sources", "Sources", [Table("", columns, rows, fold=2)], lead)


def _section(paper: Paper, section: Section) -> None:
    # A heading stays with its lead and the beginning of what follows.
    paper.need(70 + (_start(section.blocks[0]) if section.blocks else 0))
    paper.y += 0 if paper.fresh else 26
    paper.lines([section.title], MARGIN, 15, bold=True)
    paper.y += 3
    if section.lead:
        _paragraph(paper, Paragraph(section.lead, kind="note"), 9.0)
    for block in section.blocks:
        _block(paper, block)


def _start(block: Block) -> float:
    """Height that a block wants to begin with; what is begun with less would leave a heading alone."""
    if isinstance(block, Table):
        return 30 + grid.start(grid.folded(grid.with_sources(block))) if block.rows else 0.0
    if isinstance(block, Figure):
        return 60 + _scale(block)[1] * block.panels[0].height
    if isinstance(block, Tabs):
        return 30 + _start(block.parts[0][1][0])
    return 90.0


def _block(paper: Paper, block: Block) -> None:
    if isinstance(block, Paragraph):
        _paragraph(paper, block, 9.0)
    elif isinstance(block, Tiles):
        _tiles(paper, block)
    elif isinstance(block, Table):
        _table(paper, block)
    elif isinstance(block, Figure):
        _figure(paper, block)
    elif isinstance(block, Tabs):
        for name, blocks in block.parts:
            _heading(paper, f"{block.name}: {name}", _start(blocks[0]))
            for one in blocks:
                _block(paper, one)
    elif isinstance(block, Answers):
        spoken.answers(paper, block)
    else:
        spoken.tokens(paper, block)


def _heading(paper: Paper, text: str, below: float) -> None:
    paper.need(below + 30)
    paper.y += 0 if paper.fresh else 10
    paper.lines([text], MARGIN, 10.5, bold=True)
    paper.y += 3


def _paragraph(paper: Paper, paragraph: Paragraph, size: float) -> None:
    keys = f" [{short(paragraph.sources)}]" if paragraph.sources else ""
    kind = paragraph.kind
    indent = 10.0 if kind in ("finding", "care") else 0.0
    lines = wrap(paragraph.text + keys, READ - indent, size)
    height = len(lines) * size * LEADING
    paper.need(height + 4)
    if indent:
        paper.box(MARGIN, paper.y + 3, 2.2, height - 2, "care" if kind == "care" else "rule")
    paper.lines(lines, MARGIN + indent, size, "muted" if kind == "note" else "ink")
    paper.y += 0.5 * size


def _tiles(paper: Paper, block: Tiles) -> None:
    across = min(len(block.tiles), 3)
    width, height = ROOM / across, 68.0
    paper.need(ceil(len(block.tiles) / across) * height + 12)
    paper.y += 4
    for place, tile in enumerate(block.tiles):
        x, y = MARGIN + place % across * width, paper.y + place // across * height
        paper.rule(y) if place % across == 0 else None
        tone = tile.tone or "ink"
        paper.text(x, y + 15, tile.name, 8.5, tone, bold=True)
        paper.text(x, y + 35, glued(tile.value), 16, tone, bold=True)
        for n, line in enumerate(wrap(f"{tile.below} [{short(tile.sources)}]", width - 12, 7.4)):
            paper.text(x, y + 47 + 10 * n, line, 7.4, "muted")
    paper.y += ceil(len(block.tiles) / across) * height
    paper.rule(paper.y)
    paper.y += 8


def _table(paper: Paper, table: Table) -> None:
    if not table.rows:
        return
    shown = grid.folded(grid.with_sources(table))
    if table.title:
        _heading(paper, table.title, grid.start(shown))
    grid.draw(paper, shown)
    if table.note:
        _paragraph(paper, Paragraph(table.note, kind="note"), 7.8)


def _scale(figure: Figure) -> tuple[int, float]:
    """How many plots stand side by side, and their scale: lettering as large as that of the tables, or less."""
    across = min(2, len(figure.panels))
    return across, min(0.75, (ROOM - GUTTER * (across - 1)) / across / figure.panels[0].width)


def _figure(paper: Paper, figure: Figure) -> None:
    across, scale = _scale(figure)
    rows = [figure.panels[i : i + across] for i in range(0, len(figure.panels), across)]
    heights = [scale * max(panel.height for panel in row) + 18 for row in rows]
    _heading(paper, figure.title, heights[0] + (20 if figure.legend else 0))
    if figure.legend:
        _legend(paper, figure)
    for row, height in zip(rows, heights, strict=True):
        paper.need(height)
        for place, panel in enumerate(row):
            x = MARGIN + place * (scale * panel.width + GUTTER)
            top = paper.y
            if panel.title:
                paper.text(x, top + 10, panel.title, 8.5, bold=True)
                top += 16
            paper.marks(panel.draw(panel.width, panel.height), x, top, scale)
        paper.y += height
    if figure.caption:
        _paragraph(paper, Paragraph(figure.caption, kind="note"), 7.8)


def _legend(paper: Paper, figure: Figure) -> None:
    x = MARGIN
    paper.y += 4
    for one in figure.legend:
        width = 30 + text_width(one.label, 8) + 14
        if x + width > WIDTH - MARGIN:
            x = MARGIN
            paper.y += 14
        paper.marks(swatch_marks(one.tone, one.dash, one.shape), x, paper.y)
        paper.text(x + 30, paper.y + 8, one.label, 8)
        x += width
    paper.y += 18
