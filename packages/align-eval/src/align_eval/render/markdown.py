"""The report as Markdown, with its plots as SVG pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from align_eval.render import svg
from align_eval.render.compose import compose
from align_eval.render.document import Answers, Block, Document, Figure, Paragraph, Section, Table, Tabs, Tiles, Tokens
from align_eval.render.grid import with_sources
from align_eval.render.sources import short
from align_eval.render.text import number, shown

_MARKUP = re.compile(r"([\\`*<|])")
_ANY_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|~!&$-])")


def markdown(document: Document) -> str:
    """Write the report.

    Args:
        document: What stands in it.

    Returns:
        Markdown; pictures are referred to as ``figures/NAME.svg``.
    """
    parts = [f"# {document.title}", document.subtitle + ".", f"**{document.answer.text}**", _paragraph(document.caveat)]
    parts += [part for section in document.sections for part in _section(section)]
    parts += ["## Sources", "The keys stand for these artifacts.", sources(document)]
    return "\n\n".join(part for part in parts if part) + "\n"


def sources(document: Document) -> str:
    """The table of the keys."""
    lines = ["| key | artifact | role | content digest |", "| --- | --- | --- | --- |"]
    lines += [f"| {one.key} | {one.name} | {one.role} | `{one.digest}` |" for one in document.sources]
    return "\n".join(lines)


def pictures(document: Document) -> dict[str, str]:
    """Every figure as an SVG file, by name."""
    found = {}
    for figure in figures(document):
        marks, width, height = compose(figure)
        alt = " ".join(panel.alt for panel in figure.panels)
        found[figure.name] = svg.picture(marks, width, height, figure.title, alt)
    return found


def figures(document: Document) -> Iterator[Figure]:
    """Every figure of a document, those in tabs too."""
    for section in document.sections:
        yield from _figures(section.blocks)


def _figures(blocks: Sequence[Block]) -> Iterator[Figure]:
    for block in blocks:
        if isinstance(block, Figure):
            yield block
        elif isinstance(block, Tabs):
            for _, inner in block.parts:
                yield from _figures(inner)


def _section(section: Section) -> list[str]:
    return [f"## {section.title}", plain(section.lead), *(part for block in section.blocks for part in blocks(block))]


def blocks(block: Block, level: int = 3) -> list[str]:
    """A block as paragraphs of Markdown.

    Args:
        block: Any block.
        level: Depth of its heading.
    """
    if isinstance(block, Paragraph):
        return [_paragraph(block)]
    if isinstance(block, Tiles):
        return ["\n".join(f"- **{one.name}: {one.value}**, {one.below}{_keys(one.sources)}" for one in block.tiles)]
    if isinstance(block, Table):
        return _table(block, level)
    if isinstance(block, Figure):
        caption = [plain(block.caption)] if block.caption else []
        alt = " ".join(panel.alt for panel in block.panels)
        return [f"{'#' * level} {block.title}", f"![{plain(alt)}](figures/{block.name}.svg)", *caption]
    if isinstance(block, Tabs):
        found = []
        for name, inner in block.parts:
            found.append(f"{'#' * level} {block.name}: {name}")
            found += [part for one in inner for part in blocks(one, level + 1)]
        return found
    return _answers(block) if isinstance(block, Answers) else _tokens(block)


def plain(text: str) -> str:
    """Our own text: what could be markup in it is not; brackets and underscores stay readable."""
    return _MARKUP.sub(r"\\\1", text).replace("\n", " ")


def foreign(text: str) -> str:
    """A prompt or an answer, in which anything may stand: no part of it is markup, line breaks become spaces."""
    return _ANY_MARKUP.sub(r"\\\1", " ".join(text.split()))


def _keys(keys: Sequence[str]) -> str:
    return f" ({short(keys)})" if keys else ""


def _paragraph(paragraph: Paragraph) -> str:
    text = plain(paragraph.text) + _keys(paragraph.sources)
    return {"finding": f"- {text}", "care": f"> **Read with care.** {text}"}.get(paragraph.kind, text)


def _table(table: Table, level: int) -> list[str]:
    if not table.rows:
        return []
    shown = with_sources(table)
    lines = [_row([column.name for column in shown.columns])]
    lines.append(_row(["---:" if column.number else "---" for column in shown.columns], marked=True))
    for row in shown.rows:
        cells = [plain(cell.text) for cell in row.cells]
        lines.append(_row([f"**{cell}**" if row.strong and cell else cell for cell in cells], marked=True))
    title = [f"{'#' * level} {table.title}"] if table.title else []
    return [*title, "\n".join(lines), *([plain(table.note)] if table.note else [])]


def _row(cells: Sequence[str], marked: bool = False) -> str:
    return "| " + " | ".join(cells if marked else map(plain, cells)) + " |"


def _answers(block: Answers) -> list[str]:
    lines = [f"**Prompt** ({block.why}): {foreign(block.prompt)}"]
    for one in block.answers:
        outcome = f", {one.outcome}" if one.outcome else ""
        lines.append(f"- **{one.name}**{outcome} ({one.facts}): {foreign(one.text)}")
    return ["\n".join([lines[0], "", *lines[1:]])]


def _tokens(block: Tokens) -> list[str]:
    names = list(block.tokens[0].numbers) if block.tokens else []
    lines = [_row(["token", *names]), _row(["---", *["---:"] * len(names)], marked=True)]
    for token in block.tokens:
        lines.append(_row([foreign(shown(token.text)), *(number(token.numbers[name]) for name in names)], marked=True))
    return [f"**Prompt**: {foreign(block.prompt)}", "\n".join(lines), plain(block.facts) + "."]
