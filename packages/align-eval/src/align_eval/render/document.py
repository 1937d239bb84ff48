"""The report between numbers and formats: sections of blocks, which HTML, PDF and Markdown all draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from align_eval.render.plots.marks import Mark

Keys = tuple[str, ...]
"""Keys of the inputs that a number comes from, such as ``("J1", "J2")``; see `sources`."""


@dataclass(frozen=True)
class Paragraph:
    """A sentence or more; `kind` is plain, finding, care (a warning) or note."""

    text: str
    sources: Keys = ()
    kind: str = "plain"


@dataclass(frozen=True)
class Tile:
    """A key number: what it is, the number, a line below; `tone` colours it (a method's name)."""

    name: str
    value: str
    below: str
    tone: str = ""
    sources: Keys = ()


@dataclass(frozen=True)
class Tiles:
    """Key numbers in a row."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Cell:
    """A table cell: its text, what to sort it by, where it comes from, its tone (method, good, bad, open)."""

    text: str
    value: float | None = None
    sources: Keys = ()
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """A table column; numbers are set flush right."""

    name: str
    number: bool = False


@dataclass(frozen=True)
class Row:
    """A table row; strong rows stand out, totals sum others up and stay last however a reader sorts."""

    cells: tuple[Cell, ...]
    strong: bool = False
    total: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Its heading; empty if the section's heading says it.
        columns: Names and alignment.
        rows: Rows with as many cells as columns.
        note: A line below it.
        fold: How many rows stand side by side on a printed page.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    note: str = ""
    fold: int = 1


@dataclass(frozen=True)
class Panel:
    """One plot: a heading, what it shows in words, its natural size in points, and how it is drawn into a size."""

    title: str
    alt: str
    draw: Callable[[float, float], list[Mark]]
    width: float = 440.0
    height: float = 268.0


@dataclass(frozen=True)
class Legend:
    """A series that can be shown or hidden, and how it is drawn: a line, a thick one, or a band around one."""

    series: str
    label: str
    tone: str
    dash: tuple[float, ...] = ()
    shape: str = "line"


@dataclass(frozen=True)
class Figure:
    """Plots that share a legend; `name` is the picture's file name."""

    name: str
    title: str
    panels: Sequence[Panel]
    legend: Sequence[Legend] = ()
    caption: str = ""


@dataclass(frozen=True)
class Answer:
    """One policy's answer: who, in which tone, the text, facts about it, the outcome against SFT or ""."""

    name: str
    tone: str
    text: str
    facts: str
    outcome: str = ""


@dataclass(frozen=True)
class Answers:
    """Answers to one prompt, side by side."""

    prompt: str
    why: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Token:
    """One token: its text, its advantage as a share of the largest in the response (−1 to 1), its numbers by name."""

    text: str
    strength: float
    numbers: Mapping[str, float | None]


@dataclass(frozen=True)
class Tokens:
    """A response token by token."""

    name: str
    tone: str
    prompt: str
    facts: str
    tokens: Sequence[Token]


@dataclass(frozen=True)
class Tabs:
    """Parts of which a screen shows one at a time; paper and Markdown show all of them."""

    name: str
    parts: Sequence[tuple[str, Sequence[Block]]]


Block = Paragraph | Tiles | Table | Figure | Answers | Tokens | Tabs


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; `name` is the anchor."""

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Source:
    """An artifact that numbers come from."""

    key: str
    role: str
    name: str
    digest: str


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        title: Its title.
        subtitle: Judge, prompts and runs in one line.
        answer: What the study found, in one sentence.
        caveat: What that sentence does not show.
        sources: The artifacts behind the numbers, by key.
        sections: The rest, in the order in which it is read.
    """

    title: str
    subtitle: str
    answer: Paragraph
    caveat: Paragraph
    sources: Sequence[Source]
    sections: Sequence[Section]
