"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import tables
from align_eval.render.findings import findings
from align_eval.render.tables import Table
from align_eval.render.text import method, plural

FIGURES = {
    "win_rates": "Share of decided pairs won against SFT, with 95 % intervals",
    "outcomes": "Wins, ties and losses",
    "training": "KL, reward, length and perplexity over training",
    "frontier": "Reward against KL, and win rate over training",
}
"""Pictures beside the Markdown file, with what they show."""


def title(report: Mapping[str, Any]) -> str:
    """The report's title."""
    return f"{' and '.join(method(name) for name in report['methods'])} against SFT"


def subtitle(report: Mapping[str, Any]) -> str:
    """Judge, prompts and runs in one line."""
    judge, runs = report["judge"], report["runs"]
    order = "both orders" if judge["swapped"] else "one order"
    control = ", null control" if any(run["control"] == "null" for run in runs) else ""
    return f"{plural(len(runs), 'run')}{control}, {judge['prompts']} held-out prompts, judge {judge['name']} in {order}"


def markdown(report: Mapping[str, Any]) -> str:
    """Write the report.

    Args:
        report: The document of `results.build`.

    Returns:
        Markdown; pictures are referred to as ``figures/NAME.png``.
    """
    parts = [f"# {title(report)}", subtitle(report) + ".", "## Findings", _list(findings(report))]
    if report["warnings"]:
        parts += ["## Read with care", _list([one["text"] for one in report["warnings"]])]
    parts += [_figure("win_rates"), _table(tables.verdicts(report)), _figure("outcomes")]
    parts += [_table(tables.measures(report)), _figure("training"), _figure("frontier")]
    parts.append(_table(tables.effects(report)))
    if report["small_numbers"]:
        parts.append(report["small_numbers"]["text"])
    parts += [_table(one(report)) for one in (tables.trade_offs, tables.categories)]
    parts += [_table(one(report)) for one in (tables.stages, tables.certificates)]
    parts += [_table(one(report)) for one in (tables.ledger, tables.varied, tables.inputs)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(name: str) -> str:
    return f"![{FIGURES[name]}](figures/{name}.png)"


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    if not table.rows:
        return ""
    rule = ["---:" if i in table.numbers else "---" for i in range(len(table.header))]
    lines = [_row(table.header), _row(rule), *(_row(row) for row in table.rows)]
    return f"## {table.title}\n\n" + "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
