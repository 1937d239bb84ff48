"""The report as a document: what stands in it, in the order in which a reader wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render.document import Document
from align_eval.render.sections.answers import answers
from align_eval.render.sections.basis import basis
from align_eval.render.sections.between import between
from align_eval.render.sections.budgets import budgets
from align_eval.render.sections.controlled import controlled
from align_eval.render.sections.course import course
from align_eval.render.sections.expected import expected
from align_eval.render.sections.frontier import frontier
from align_eval.render.sections.headline import answer, caveat, headline
from align_eval.render.sections.lengths import lengths
from align_eval.render.sections.winning import winning
from align_eval.render.sources import Sources
from align_eval.render.text import method, plural

Json = Mapping[str, Any]

SECTIONS = (headline, expected, winning, between, course, frontier, lengths, budgets, answers, basis, controlled)


def document(report: Json) -> Document:
    """Turn the numbers into a document.

    Args:
        report: The document of `results.build`.

    Returns:
        What HTML, PDF and Markdown draw.
    """
    sources = Sources(report)
    made = [section(report, sources) for section in SECTIONS]
    return Document(
        title=title(report),
        subtitle=subtitle(report),
        answer=answer(report, sources),
        caveat=caveat(report, sources),
        sources=sources.listed(),
        sections=[section for section in made if section is not None],
    )


def title(report: Json) -> str:
    """The report's title."""
    return f"{' and '.join(method(name) for name in report['methods'])} against SFT"


def subtitle(report: Json) -> str:
    """Judge, prompts and runs in one line."""
    judge, runs = report["judge"], report["runs"]
    order = "both orders" if judge["swapped"] else "one order"
    control = ", null control" if any(run["control"] == "null" for run in runs) else ""
    return f"{plural(len(runs), 'run')}{control}, {judge['prompts']} held-out prompts, judge {judge['name']} in {order}"
