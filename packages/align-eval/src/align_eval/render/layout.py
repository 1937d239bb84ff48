"""Pages that fill from top to bottom: headings, paragraphs, tables that break over pages, charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from align_eval.render import style
from align_eval.render.panel import Panel
from align_eval.render.tables import Table
from align_eval.render.text import NAMES

WIDTH, HEIGHT = style.A4[0] * 72, style.A4[1] * 72
"""Page size in points; all lengths here are in points."""
MARGIN, FOOT = 44.0, 40.0
LEADING = 1.34
CELL_PAD, CELL_GAP = 3.2, 5.0


@lru_cache(maxsize=8192)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a text in points, as the page's font draws it."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Break a text into lines of at most a width; a word that is wider alone is cut.

    A number stays with its ``%`` or ``± sd`` where the width allows.
    """
    lines: list[str] = []
    line = ""
    joined = text.replace(" %", "\u00a0%").replace(" ± ", "\u00a0±\u00a0").split(" ")
    fitting = [[word] if text_width(word, size, weight) <= width else word.split("\u00a0") for word in joined]
    for word in chain.from_iterable(fitting):
        longer = f"{line} {word}".strip()
        if text_width(longer, size, weight) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        *cut, line = _cut(word, width, size, weight)
        lines += cut
    return [*lines, line]


def _cut(word: str, width: float, size: float, weight: str) -> list[str]:
    """Pieces of a word, none wider than the width."""
    pieces = []
    while text_width(word, size, weight) > width and len(word) > 1:
        keep = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or text_width(word[:n], size, weight) <= width)
        pieces.append(word[:keep])
        word = word[keep:]
    return [*pieces, word]


class Pages:
    """A PDF being filled.

    Args:
        pdf: The open file.
        foot: Text at the foot of every page.
    """

    def __init__(self, pdf: PdfPages, foot: str) -> None:
        self._pdf, self._foot = pdf, foot
        self._figure: Figure | None = None
        self._number = 0
        self.y = 0.0
        """How far down the page is filled."""

    @property
    def left(self) -> float:
        """Room left on the page."""
        return HEIGHT - FOOT - self.y

    def new_page(self) -> Figure:
        """Finish the page and begin another."""
        self.close()
        self._figure = Figure(figsize=style.A4)
        self._number += 1
        self.y = MARGIN
        self._put(MARGIN, HEIGHT - 20, self._foot, 7.5, style.MUTED)
        self._put(WIDTH - MARGIN, HEIGHT - 20, str(self._number), 7.5, style.MUTED, align="right")
        return self._figure

    def close(self) -> None:
        """Write the page begun last."""
        if self._figure is not None:
            self._pdf.savefig(self._figure)
            self._figure = None

    def title(self, text: str, below: str = "") -> None:
        """The title of the report."""
        self.y += 20
        self._put(MARGIN, self.y, text, 22, style.INK, weight="bold")
        if below:
            self.y += 20
            self._put(MARGIN, self.y, below, 10, style.MUTED)
        self.y += 14

    def heading(self, text: str, room: float = 80.0) -> None:
        """A heading, on a new page if less than `room` would be left below it."""
        if self._figure is None or self.left < room:
            self.new_page()
        self.y += 16
        self._put(MARGIN, self.y, text, 12.5, style.INK, weight="bold")
        self.y += 8

    def paragraph(self, text: str, size: float = 9.5, colour: str = style.INK, bullet: str | None = None) -> None:
        """A paragraph over the whole width, with a coloured bullet if a colour is given."""
        indent = 12.0 if bullet else 0.0
        lines = wrap(text, WIDTH - 2 * MARGIN - indent, size)
        if self.left < len(lines) * size * LEADING:
            self.new_page()
        if bullet:
            self._box(MARGIN, self.y + 0.42 * size, 4.5, 4.5, bullet)
        for line in lines:
            self.y += size * LEADING
            self._put(MARGIN + indent, self.y - 0.24 * size, line, size, colour)
        self.y += 0.45 * size

    def table(self, table: Table, size: float = 8.0) -> None:
        """A table with its heading; rows that do not fit go on with the header on the next page."""
        if not table.rows:
            return
        scale = (WIDTH - 2 * MARGIN) / sum(table.widths)
        widths = [w * scale for w in table.widths]
        rows = sum(self._row_height(row, widths, size) for row in (table.header, *table.rows))
        whole = rows + (60.0 if table.note else 30.0)
        # A table that fits a page is not broken; a longer one begins where it stands.
        self.heading(table.title, whole if whole < HEIGHT - FOOT - MARGIN else 160.0)
        self._cells(table.header, widths, table.numbers, size, weight="bold")
        for number, row in enumerate(table.rows):
            if self.left < self._row_height(row, widths, size):
                self.new_page()
                self._cells(table.header, widths, table.numbers, size, weight="bold")
            self._cells(row, widths, table.numbers, size, shade=number % 2 == 0)
        self.y += 4
        if table.note:
            self.paragraph(table.note, 7.5, style.MUTED)

    def tiles(self, tiles: Sequence[tuple[str, str, str]]) -> None:
        """Key numbers in a row: what it is, the number, a line below it."""
        gap, height = 10.0, 62.0
        width = (WIDTH - 2 * MARGIN - gap * (len(tiles) - 1)) / len(tiles)
        for i, (name, value, below) in enumerate(tiles):
            x = MARGIN + i * (width + gap)
            self._box(x, self.y, width, height, style.PALE)
            self._put(x + 10, self.y + 15, name, 8, style.MUTED)
            self._put(x + 10, self.y + 37, value, 16, style.INK, weight="bold")
            self._put(x + 10, self.y + 53, below, 8, style.MUTED)
        self.y += height + 12

    def chart(self, heading: str, height: float, draw: Callable[[Panel], None]) -> None:
        """A chart over the whole width."""
        self.heading(heading, height + 20)
        assert self._figure is not None
        draw(Panel(self._figure, MARGIN, self.y, WIDTH - 2 * MARGIN, height))
        self.y += height

    def _row_height(self, cells: tuple[str, ...], widths: list[float], size: float, weight: str = "normal") -> float:
        lines = max(len(wrap(c, w - 2 * CELL_GAP, size, weight)) for c, w in zip(cells, widths, strict=True))
        return lines * size * LEADING + 2 * CELL_PAD

    def _cells(
        self,
        cells: tuple[str, ...],
        widths: list[float],
        numbers: frozenset[int],
        size: float,
        weight: str = "normal",
        shade: bool = False,
    ) -> None:
        height = self._row_height(cells, widths, size, weight)
        if shade:
            self._box(MARGIN, self.y, sum(widths), height, style.PALE)
        x = MARGIN
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            right = i in numbers
            place = x + width - CELL_GAP if right else x + CELL_GAP
            ink = style.ink(cell) if weight != "bold" or cell in NAMES.values() else style.INK
            for n, line in enumerate(wrap(cell, width - 2 * CELL_GAP, size, weight)):
                y = self.y + CELL_PAD + (n + 1) * size * LEADING - 0.30 * size
                self._put(place, y, line, size, ink, weight=weight, align="right" if right else "left")
            x += width
        self.y += height
        if weight == "bold":
            self._rule(self.y)

    def _put(
        self, x: float, y: float, text: str, size: float, colour: str, *, weight: str = "normal", align: str = "left"
    ) -> None:
        assert self._figure is not None
        self._figure.text(
            x / WIDTH, 1 - y / HEIGHT, text, fontsize=size, color=colour, fontweight=weight, ha=align, va="baseline"
        )

    def _box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        assert self._figure is not None
        corner = (x / WIDTH, 1 - (y + height) / HEIGHT)
        size = (width / WIDTH, height / HEIGHT)
        self._figure.add_artist(Rectangle(corner, *size, facecolor=colour, edgecolor="none", zorder=-1))

    def _rule(self, y: float) -> None:
        assert self._figure is not None
        height = 1 - y / HEIGHT
        line = Line2D([MARGIN / WIDTH, 1 - MARGIN / WIDTH], [height, height], color=style.MUTED, linewidth=0.8)
        self._figure.add_artist(line)
