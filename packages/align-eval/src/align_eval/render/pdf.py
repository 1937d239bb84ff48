"""The report as PDF: summary, trade-offs, charts, tables, ledger. Equal reports give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages

from align_eval.render import charts, style, tables
from align_eval.render.findings import findings
from align_eval.render.layout import Pages
from align_eval.render.markdown import subtitle, title
from align_eval.render.text import fixed, method, percent, plural, plus_minus, span

Json = Mapping[str, Any]


def draw_pdf(report: Json, path: Path) -> None:
    """Write the report.

    Args:
        report: The document of `results.build`.
        path: Where to.
    """
    metadata = {"Title": title(report), "Creator": "align-eval", "Producer": None, "CreationDate": None}
    with matplotlib.rc_context(style.RC), PdfPages(path, metadata=metadata) as pdf:
        pages = Pages(pdf, f"align · {title(report)} · {subtitle(report)}")
        _summary(pages, report)
        pages.new_page()
        pages.table(tables.trade_offs(report), 8.6)
        _charts(pages, report)
        _numbers(pages, report)
        pages.close()


def tiles(report: Json) -> list[tuple[str, str, str]]:
    """Key numbers of the first page: name, number, what stands below it."""
    found = []
    for name, row in report["methods"].items():
        rate = row["win_rate_decided"]
        below = f"of decided pairs won, {plural(len(row['seeds']), 'seed')}"
        found.append((method(name), plus_minus(_hundred(rate["value"]), _hundred(rate["sd"])) + " %", below))
    effect = report["effect"]
    if effect["cohens_d"] is not None:
        found.append(("Cohen's d", fixed(effect["cohens_d"]), f"{span(effect['interval'])}, {effect['band'][0]}"))
    rm, sft = report["reward_model"], report["sft"]
    found.append(("Reward model", percent(rm["pairwise_accuracy"]), f"held-out pairs right, ECE {fixed(rm['ece'], 3)}"))
    change = f"{fixed(sft['perplexity_before'])} → {fixed(sft['perplexity_after'])}"
    return [*found, ("SFT perplexity", change, "before and after training")]


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _summary(pages: Pages, report: Json) -> None:
    pages.new_page()
    pages.title(title(report), subtitle(report))
    pages.tiles(tiles(report))
    for sentence in findings(report):
        pages.paragraph(sentence, bullet=style.INK)
    for warning in report["warnings"]:
        pages.paragraph(warning["text"], bullet="#F59E0B")
    pages.chart("Win rate against SFT", min(270.0, pages.left - 40), lambda panel: charts.win_rates(panel, report))


def _charts(pages: Pages, report: Json) -> None:
    pages.new_page()
    pages.chart("Wins, ties and losses", 200, lambda panel: charts.outcomes(panel, report))
    pages.chart("Won of decided pairs by category", 200, lambda panel: charts.categories(panel, report))
    pages.new_page()
    pages.chart("Training", 455, lambda panel: charts.training(panel, report))
    pages.new_page()
    pages.chart("Frontier and convergence", 390, lambda panel: charts.frontier(panel, report))
    pages.paragraph(
        "Left: a point is an evaluation point, a line a run; the star is the checkpoint that was published. Higher at "
        "the same KL is better. Right: the stored answers of each evaluation point against those of iteration 0, the "
        "untrained policy; a run has converged where it first reaches the line at 60 %.",
        8.5,
        style.MUTED,
    )


def _numbers(pages: Pages, report: Json) -> None:
    pages.new_page()
    pages.table(tables.verdicts(report))
    pages.table(tables.measures(report))
    pages.table(tables.effects(report))
    if report["small_numbers"]:
        pages.heading("How much so few seeds can show")
        pages.paragraph(report["small_numbers"]["text"], 8.5)
    for table in (tables.certificates, tables.stages, tables.categories, tables.ledger, tables.varied, tables.inputs):
        pages.table(table(report))
