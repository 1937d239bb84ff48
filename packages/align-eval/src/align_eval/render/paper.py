"""A PDF page: text, rules and marks at places in points, measured from the upper left corner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font, LoadFlags
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.text import Text as DrawnText
from matplotlib.transforms import Affine2D, Transform

from align_eval.render import style
from align_eval.render.plots.marks import Area, Line, Mark, Text, box
from align_eval.render.svg import outline
from align_eval.render.text import glued

WIDTH, HEIGHT = style.A4[0] * 72, style.A4[1] * 72
MARGIN, FOOT = 42.0, 46.0
ROOM = WIDTH - 2 * MARGIN
READ = 500.0
"""Width of the page's content, and of the longest line of running text."""
NO_GLYPH = "□"
LEADING = 1.36
"""Distance of lines as a multiple of the letter size."""


@lru_cache(maxsize=2)
def _font(bold: bool) -> FT2Font:
    # A font of our own: those that drawing uses change their size.
    font = FT2Font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")))
    font.set_size(1.0, 72.0)
    return font


@lru_cache(maxsize=4096)
def _drawable(character: str, bold: bool) -> str:
    if character == "\u00a0" or (character.isprintable() and _font(bold).get_char_index(ord(character))):
        return character
    return NO_GLYPH if character.isprintable() else " "


def drawable(text: str, bold: bool = False) -> str:
    """A text that the page's font can draw: answers of a model may hold anything.

    A line break or another control character becomes a blank, a letter that the font lacks an empty box.
    """
    return "".join(_drawable(character, bold) for character in text)


@lru_cache(maxsize=4096)
def _advance(character: str, bold: bool) -> float:
    """Width of a character at size 1; FreeType counts it in 65536ths of a point."""
    return float(_font(bold).load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536


@lru_cache(maxsize=32768)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a text in points, as the page's font draws it, kerning aside."""
    return size * sum(_advance(character, bold) for character in drawable(text, bold))


def wrap(text: str, width: float, size: float, bold: bool = False) -> list[str]:
    """Break a text into lines of at most a width; a word that is wider alone is cut.

    A number stays with its unit, its ``± sd`` and its interval where the width allows; a line break stays one.
    """
    return [line for part in text.splitlines() or [""] for line in _wrap(part, width, size, bold)]


# A table is measured before it is drawn, at several sizes: what was wrapped once is remembered.
@lru_cache(maxsize=32768)
def _wrap(text: str, width: float, size: float, bold: bool) -> list[str]:
    lines: list[str] = []
    line = ""
    words = [
        part
        for word in glued(drawable(text, bold)).split(" ")
        for part in ([word] if text_width(word, size, bold) <= width else word.split("\u00a0"))
    ]
    for word in words:
        longer = f"{line} {word}".strip(" ")
        if text_width(longer, size, bold) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        *cut, line = _cut(word, width, size, bold)
        lines += cut
    return [*lines, line]


def _cut(word: str, width: float, size: float, bold: bool) -> list[str]:
    """Pieces of a word, none wider than the width."""
    pieces = []
    while text_width(word, size, bold) > width and len(word) > 1:
        keep = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or text_width(word[:n], size, bold) <= width)
        pieces.append(word[:keep])
        word = word[keep:]
    return [*pieces, word]


class Paper:
    """Pages that fill from top to bottom.

    Args:
        pdf: The open file.
        foot: Text at the foot of every page.
    """

    def __init__(self, pdf: PdfPages, foot: str) -> None:
        self._pdf, self._foot = pdf, foot
        self._figure: Figure | None = None
        self._number = 0
        self.y = 0.0
        """How far down the page is filled, in points."""
        self.filled: list[float] = []
        """The same of every finished page."""

    @property
    def left(self) -> float:
        """Room left on the page."""
        return HEIGHT - FOOT - self.y if self._figure is not None else 0.0

    @property
    def fresh(self) -> bool:
        """Whether nothing stands on the page yet."""
        return self._figure is not None and self.y == MARGIN

    def new_page(self) -> None:
        """Finish the page and begin another."""
        self.close()
        self._figure = Figure(figsize=style.A4)
        self._number += 1
        self.y = MARGIN
        self.text(MARGIN, HEIGHT - 22, self._foot, 7.5, "muted")
        self.text(WIDTH - MARGIN, HEIGHT - 22, str(self._number), 7.5, "muted", anchor="end")

    def need(self, height: float) -> None:
        """Begin a new page if less than this is left."""
        if self.left < height and not self.fresh:
            self.new_page()

    def close(self) -> None:
        """Write the page begun last."""
        if self._figure is not None:
            self._pdf.savefig(self._figure)
            self._figure = None
            self.filled.append(self.y)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float,
        tone: str = "ink",
        *,
        bold: bool = False,
        anchor: str = "start",
    ) -> None:
        """One line of text on a baseline."""
        self.marks([Text(x, y, text, tone, size, anchor, bold)])

    def lines(self, lines: Sequence[str], x: float, size: float, tone: str = "ink", *, bold: bool = False) -> None:
        """Lines of text below what stands on the page."""
        for line in lines:
            self.y += size * LEADING
            self.text(x, self.y - 0.26 * size, line, size, tone, bold=bold)

    def rule(self, y: float, tone: str = "rule", width: float = WIDTH - 2 * MARGIN) -> None:
        """A line across the page."""
        self.marks([Line(((MARGIN, y), (MARGIN + width, y)), tone, 0.7)])

    def box(self, x: float, y: float, width: float, height: float, tone: str, opacity: float = 1.0) -> None:
        """A filled rectangle."""
        self.marks([box(x, y, width, height, tone, opacity=opacity)])

    def marks(self, marks: Sequence[Mark], x: float = 0.0, y: float = 0.0, scale: float = 1.0) -> None:
        """Marks with their corner at a place, drawn larger or smaller."""
        assert self._figure is not None
        place = Affine2D().scale(scale).translate(x, y).scale(1 / 72, -1 / 72).translate(0, style.A4[1])
        inches = self._figure.dpi_scale_trans
        for mark in marks:
            self._figure.add_artist(_artist(mark, scale, place + inches))


def _artist(mark: Mark, scale: float, place: Transform) -> Line2D | Polygon | DrawnText:
    colour = style.light(mark.tone)
    if isinstance(mark, Text):
        anchor = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
        weight = "bold" if mark.bold else "normal"
        return DrawnText(
            mark.x, mark.y, drawable(mark.text, mark.bold), color=colour, fontsize=mark.size * scale,
            fontweight=weight, ha=anchor, va="baseline", transform=place, parse_math=False,
        )  # fmt: skip
    if isinstance(mark, Line):
        dash = (0.0, tuple(d * scale for d in mark.dash)) if mark.dash else None
        return Line2D(
            *zip(*mark.points, strict=True), color=colour, linewidth=mark.width * scale, linestyle=dash,
            alpha=mark.opacity, solid_capstyle="butt", transform=place,
        )  # fmt: skip
    if isinstance(mark, Area):
        return Polygon(mark.points, facecolor=colour, edgecolor="none", alpha=mark.opacity, transform=place)
    face, edge = ("white", colour) if mark.hollow else (colour, "white")
    if mark.shape == "circle":
        return Line2D(
            [mark.x], [mark.y], marker="o", markersize=2 * mark.r * scale, markerfacecolor=face, markeredgecolor=edge,
            markeredgewidth=0.6 * scale, alpha=mark.opacity, linestyle="none", transform=place,
        )  # fmt: skip
    return Polygon(outline(mark), facecolor=face, edgecolor=edge, linewidth=0.6 * scale, transform=place)
