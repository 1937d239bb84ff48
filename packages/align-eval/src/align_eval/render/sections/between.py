"""Between the methods: effect sizes over seeds with their intervals, and what so few seeds can show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Panel, Paragraph, Row, Section, Table
from align_eval.render.plots import forest
from align_eval.render.plots.forest import Estimate, Forest
from align_eval.render.sections.certainty import design, how_sure
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, p_value, span

Json = Mapping[str, Any]

METRICS = {
    "win_rate": ("won of all pairs, points", 100.0, 1, "judgments"),
    "win_rate_decided": ("won of decided pairs, points", 100.0, 1, "judgments"),
    "reward_mean": ("mean reward", 1.0, 2, "responses"),
    "reward_gain": ("reward gain over SFT", 1.0, 2, "responses"),
    "kl": ("KL, nats a token", 1.0, 4, "policy"),
    "perplexity": ("perplexity", 1.0, 3, "policy"),
    "response_length_mean": ("response length, tokens", 1.0, 2, "responses"),
}
"""How each number is called, its factor, its decimals, and which artifacts it comes from."""


def between(report: Json, sources: Sources) -> Section:
    """Effect sizes and small numbers."""
    effect = report["effect"]
    blocks: list[Block] = how_sure(report, sources)
    if any(found["cohens_d"] is not None for found in effect["metrics"].values()):
        blocks.append(_plot(effect))
    if effect["metrics"]:
        blocks.append(_table(report, sources))
    elif not report["estimates"]["reason"]:  # which says as much
        blocks.append(Paragraph(f"No effect size: {effect['reason']}.", kind="note"))
    if report["small_numbers"]:
        blocks.append(Paragraph(report["small_numbers"]["text"]))
    if report["design"]:
        blocks += design(report["design"], sources)
    names = [method(effect[place]) for place in ("first", "second") if effect[place]]
    title = f"{names[0]} against {names[1]}" if len(names) == 2 else "Between methods"
    lead = (
        "Differences are first minus second. What another study would draw anew are seeds and prompts, so the primary "
        "interval speaks of both; effect sizes are over the seeds."
    )
    return Section("effects", title, blocks, lead)


def _plot(effect: Json) -> Figure:
    rows = []
    for name, found in effect["metrics"].items():
        text = f"{fixed(found['cohens_d'])} {span(found['interval'])}".strip()
        title = METRICS[name][0].partition(",")[0]
        rows.append(Estimate(title, found["cohens_d"], found["interval"], "ink", text, name == effect["metric"]))
    plot = Forest(rows, "Cohen's d, 95 % interval; bold: the primary number", 0.0, left=164.0)
    alt = "; ".join(f"{row.name}: d {row.text}" for row in rows) + "."
    title = f"Effect sizes: {method(effect['first'])} − {method(effect['second'])}"
    return Figure("effects", title, [Panel("", alt, partial(forest.draw, plot), 720.0, plot.height)])


def _table(report: Json, sources: Sources) -> Table:
    effect = report["effect"]
    names = [effect["first"], effect["second"]]
    rows = []
    for name, found in effect["metrics"].items():
        label, scale, digits, role = METRICS[name]
        keys = sources.all(role)
        means = [cells.spread(report["methods"][m][name], sources.method(m, role), scale, digits) for m in names]
        rows.append(
            Row(
                (
                    cells.plain(label),
                    *means,
                    cells.estimate(found["difference"], found["welch_interval"], keys, scale, digits),
                    cells.estimate(found["cohens_d"], found["interval"], keys),
                    cells.estimate(found["hedges_g"], found["hedges_g_interval"], keys),
                    Cell(p_value(found["welch_p"]), found["welch_p"], keys),
                ),
                strong=name == effect["metric"],
            )
        )
    heads = [method(name) for name in names]
    numbers = (*heads, "difference [95 %]", "Cohen's d [95 %]", "Hedges' g [95 %]", "Welch p")
    return Table("", cells.columns(("number (mean ± sd over seeds)",), *numbers), rows)
