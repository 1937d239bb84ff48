"""The report as one HTML file: style, script and plots inside, nothing fetched; whole without the script too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape as _escape
from importlib.resources import files
from itertools import groupby
from string import Template

from align_eval.render import style, svg
from align_eval.render.document import (
    Answers,
    Block,
    Cell,
    Document,
    Figure,
    Keys,
    Legend,
    Panel,
    Paragraph,
    Row,
    Section,
    Source,
    Table,
    Tabs,
    Tiles,
    Tokens,
)
from align_eval.render.sources import short
from align_eval.render.text import MISSING, fixed, glued, number, shown

NARROW = 350.0
"""Width in points at which a plot that stands alone is drawn for a phone."""


def escape(text: str) -> str:
    """Text for HTML, numbers unbroken."""
    return _escape(glued(text))


def page(document: Document) -> str:
    """Write the report.

    Args:
        document: What stands in it.

    Returns:
        The whole file.
    """
    writer = _Writer(document.sources)
    contents = [(one.name, one.title) for one in document.sections] + [("sources", "Sources")]
    return Template(_asset("report.html")).substitute(
        title=escape(document.title),
        subtitle=escape(document.subtitle),
        answer=writer.sentence(document.answer),
        caveat=writer.sentence(document.caveat),
        contents="".join(f'<li><a href="#{name}">{escape(text)}</a></li>' for name, text in contents),
        sections="\n".join(writer.section(one) for one in document.sections),
        sources=writer.sources(),
        style=_palette() + _asset("report.css"),
        script=_asset("report.js"),
    )


def _asset(name: str) -> str:
    return files("align_eval.render").joinpath("assets", name).read_text(encoding="utf-8")


def _palette() -> str:
    """Light by default, dark where the reader's system or the button asks for it."""
    light, dark = style.variables(False), style.variables(True)
    system = "@media screen and (prefers-color-scheme:dark)"
    tones = "".join(f".t-{name}{{color:var(--{name})}}" for name in style.TONES)
    return (
        f":root{{color-scheme:light;{light}}}{system}{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}"
        f"{tones}{svg.tone_rules()}\n"
    )


class _Writer:
    """Writes blocks; knows the sources that numbers point to.

    Args:
        sources: The artifacts, by key.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources: Mapping[str, Source] = {one.key: one for one in sources}

    def section(self, section: Section) -> str:
        """A section with its heading and anchor."""
        lead = f'<p class="lead">{escape(section.lead)}</p>' if section.lead else ""
        body = "\n".join(map(self.block, section.blocks))
        return f'<section id="{section.name}"><h2>{escape(section.title)}</h2>{lead}\n{body}\n</section>'

    def sentence(self, paragraph: Paragraph) -> str:
        """Its text with the keys of its sources."""
        return escape(paragraph.text) + self._keys(paragraph.sources)

    def block(self, block: Block) -> str:
        """Any block."""
        if isinstance(block, Paragraph):
            return f'<p class="{block.kind}">{self.sentence(block)}</p>'
        if isinstance(block, Tiles):
            return self._tiles(block)
        if isinstance(block, Table):
            return self._table(block)
        if isinstance(block, Figure):
            return self._figure(block)
        if isinstance(block, Tabs):
            parts = (
                f'<section class="tab"><h4>{escape(name)}</h4>{"".join(map(self.block, blocks))}</section>'
                for name, blocks in block.parts
            )
            name = escape(block.name)
            return f'<h3>{name}</h3><div class="tabs" data-name="{name}">{"".join(parts)}</div>'
        return _answers(block) if isinstance(block, Answers) else _tokens(block)

    def sources(self) -> str:
        """The table that all keys point to."""
        rows = "".join(
            f'<tr id="src-{one.key}"><th scope="row">{one.key}</th><td>{escape(one.name)}</td>'
            f"<td>{escape(one.role)}</td><td><code>{one.digest}</code></td></tr>"
            for one in self._sources.values()
        )
        head = "".join(
            f'<th scope="col">{name}</th>' for name in ("key", "artifact", "role", "content digest (sha256)")
        )
        inner = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        return f'<div class="scroll"><table class="sources">{inner}</table></div>'

    def _keys(self, keys: Keys) -> str:
        if not keys:
            return ""
        return f'<sup><a href="#src-{keys[0]}" title="{self._tip(keys)}">{short(keys)}</a></sup>'

    def _tip(self, keys: Keys) -> str:
        found = [self._sources[key] for key in dict.fromkeys(keys)]
        lines = [f"{one.key}: {one.name} ({one.role}), digest {one.digest[:12]}…" for one in found[:7]]
        return escape("\n".join([*lines, *(["…"] if len(found) > 7 else [])]))

    def _tiles(self, tiles: Tiles) -> str:
        found = (
            f'<li class="tile t-{tile.tone or "ink"}"><span>{escape(tile.name)}</span>'
            f"<strong>{escape(tile.value)}</strong><small>{escape(tile.below)}{self._keys(tile.sources)}</small></li>"
            for tile in tiles.tiles
        )
        return f'<ul class="tiles">{"".join(found)}</ul>'

    def _table(self, table: Table) -> str:
        if not table.rows:
            return ""
        title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
        note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
        numbers = [column.number for column in table.columns]
        head = "".join(f'<th scope="col"{_flush(column.number)}>{escape(column.name)}</th>' for column in table.columns)
        body = "".join(self._row(row, numbers) for row in table.rows)
        inner = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        label = escape(table.title or "table")
        return f'{title}<div class="scroll" tabindex="0" role="region" aria-label="{label}">{inner}</div>{note}'

    def _row(self, row: Row, numbers: Sequence[bool]) -> str:
        found: list[str] = []
        # Neighbours from the same source share one mark, behind the last of them.
        for keys, group in groupby(zip(row.cells, numbers, strict=True), key=lambda pair: pair[0].sources):
            cells = list(group)
            last = max((i for i, (cell, _) in enumerate(cells) if cell.text != MISSING), default=-1)
            for place, (cell, flush) in enumerate(cells):
                mark = self._keys(keys) if place == last else ""
                found.append(self._cell(cell, flush, mark, first=not found))
        kind = "sum" if row.total else "strong" if row.strong else ""
        return f"<tr{_flush(False, kind)}>{''.join(found)}</tr>"

    def _cell(self, cell: Cell, flush: bool, mark: str, first: bool) -> str:
        tag = 'th scope="row"' if first else "td"
        value = f' data-v="{cell.value!r}"' if cell.value is not None else ""
        tip = f' title="{self._tip(cell.sources)}"' if cell.sources and not mark and cell.text != MISSING else ""
        tone = f"t-{cell.tone}" if cell.tone in style.TONES else ""
        return f"<{tag}{_flush(flush, tone)}{value}{tip}>{escape(cell.text)}{mark}</{tag[:2]}>"

    def _figure(self, figure: Figure) -> str:
        legend = "".join(map(_legend, figure.legend))
        keys = f'<ul class="legend">{legend}</ul>' if legend else ""
        caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
        many = "many" if len(figure.panels) > 1 else "one"
        plots = "".join(_panel(panel, alone=many == "one") for panel in figure.panels)
        return (
            f'<figure id="figure-{figure.name}" class="plot {many}"><h3>{escape(figure.title)}</h3>{keys}'
            f'<div class="panels">{plots}</div>{caption}</figure>'
        )


def _flush(number_column: bool, tone: str = "") -> str:
    names = " ".join(name for name in ("n" if number_column else "", tone) if name)
    return f' class="{names}"' if names else ""


def _panel(panel: Panel, *, alone: bool) -> str:
    """A plot; one that stands alone is wide, so it is drawn once more for a phone: shrunk, nobody could read it."""
    title = f"<h4>{escape(panel.title)}</h4>" if panel.title else ""
    if not alone:
        return f'<div class="panel">{title}{_drawn(panel, panel.width)}</div>'
    wide, narrow = _drawn(panel, panel.width), _drawn(panel, NARROW)
    return f'<div class="panel">{title}<div class="wide">{wide}</div><div class="narrow">{narrow}</div></div>'


def _drawn(panel: Panel, width: float) -> str:
    return svg.inline(panel.draw(width, panel.height), width, panel.height, panel.title or "Plot", panel.alt)


def _legend(one: Legend) -> str:
    return f'<li data-toggle="{escape(one.series)}">{svg.swatch(one.tone, one.dash, one.shape)}{escape(one.label)}</li>'


def _answers(block: Answers) -> str:
    found = (
        f'<article class="answer"><h5 class="t-{one.tone}">{escape(one.name)}{_outcome(one.outcome)}</h5>'
        f"<p>{escape(one.text)}</p><small>{escape(one.facts)}</small></article>"
        for one in block.answers
    )
    head = f'<p class="prompt"><span>Prompt, {escape(block.why)}</span>{escape(block.prompt)}</p>'
    return f'<div class="sample">{head}<div class="answers">{"".join(found)}</div></div>'


def _outcome(outcome: str) -> str:
    return f' <span class="badge {escape(outcome)}">{escape(outcome)}</span>' if outcome else ""


def _tokens(block: Tokens) -> str:
    names = list(block.tokens[0].numbers) if block.tokens else []
    chips = "".join(_chips(block))
    head = "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><td class="n">{place}</td><th scope="row"><code>{escape(shown(token.text))}</code></th>'
        + "".join(f'<td class="n">{number(token.numbers[name])}</td>' for name in names)
        + "</tr>"
        for place, token in enumerate(block.tokens, 1)
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col" class="n">place</th><th scope="col">token</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    return (
        f'<div class="sample"><p class="prompt"><span>Prompt</span>{escape(block.prompt)}</p>'
        f'<p class="tokens">{chips}</p><p class="note">{escape(block.facts)}. <i class="plus">Green</i> is above 0, '
        f'<i class="minus">purple and underlined</i> below; the deeper, the larger{_below(names)}.</p>'
        f"<details><summary>Every token's numbers</summary>{table}</details></div>"
    )


def _below(names: Sequence[str]) -> str:
    return "; below each token the critic's value" if "value" in names else ""


def _chips(block: Tokens) -> Iterator[str]:
    for token in block.tokens:
        tip = ", ".join(f"{name} {number(value)}" for name, value in token.numbers.items() if value is not None)
        sign = "minus" if token.strength < 0 else "plus"
        value = token.numbers.get("value")
        below = f"<small>{fixed(round(value, 1) + 0.0, 1)}</small>" if value is not None else ""
        look = f'class="token {sign}" style="--a:{abs(token.strength):.2f}" title="{escape(tip)}"'
        yield f"<span {look}>{escape(shown(token.text))}{below}</span>"
