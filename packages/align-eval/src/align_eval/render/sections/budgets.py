"""The same comparison at equal iterations, samples, tokens and seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Paragraph, Row, Section, Table, Tabs
from align_eval.render.sources import Sources
from align_eval.render.text import MISSING, duration, method, p_value, run_name

Json = Mapping[str, Any]

NAMES = {"iterations": "iterations", "samples": "samples", "tokens": "tokens", "equal_seconds": "seconds"}
METRICS = {
    "reward_mean": ("reward (raw score)", 1.0, 2),
    "gold": ("gold score", 1.0, 3),
    "win_rate_decided": ("won of decided pairs against iteration 0, points", 100.0, 1),
    "kl": ("KL, nats a token", 1.0, 4),
    "perplexity": ("perplexity", 1.0, 3),
}


def budgets(report: Json, sources: Sources) -> Section:
    """A table a budget; without them, what each run drew."""
    blocks: list[Block] = [_spent(report, sources)]
    parts = []
    for name, budget in report["budgets"].items():
        found: list[Block]
        if budget.get("reason"):
            found = [Paragraph(f"{budget['reason']}.", kind="note")]
        else:
            found = [_table(report, budget, sources)]
        parts.append((f"Equal {NAMES.get(name, name)}", found))
    if parts:
        blocks.append(Tabs("At equal budgets", parts))
    lead = "Equal iterations are not equal work: GRPO draws K answers to each prompt where PPO draws one."
    return Section("budgets", "Equal iterations, samples, tokens, seconds", blocks, lead)


def _spent(report: Json, sources: Sources) -> Table:
    rows = []
    for run in report["runs"]:
        keys = sources.run(run["label"], "policy")
        drawn, seconds = run["samples"], run.get("training_seconds")
        whole = run.get("seconds_per_iteration")
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.count(run["stability"]["iterations"], keys),
                    cells.count(drawn["responses"], keys),
                    cells.count(drawn["response_tokens"], keys),
                    Cell(duration(seconds), seconds, keys),
                    Cell(duration(whole), whole, keys),
                )
            )
        )
    numbers = ("iterations", "responses drawn", "response tokens", "time", "time an iteration")
    return Table("What each run spent", cells.columns(("run",), *numbers), rows)


def _table(report: Json, budget: Json, sources: Sources) -> Table:
    gaps = budget.get("difference") or {}
    keys = sources.all("policy")
    rows = []
    for name, (label, scale, digits) in METRICS.items():
        found = [budget["methods"].get(m, {}).get(name) for m in report["methods"]]
        if not any(found):
            continue
        names = list(report["methods"])
        values = [
            cells.spread(v, sources.method(m, "policy"), scale, digits) for m, v in zip(names, found, strict=True)
        ]
        gap = gaps.get(name) or {}
        difference = cells.estimate(gap.get("value"), gap.get("interval"), keys, scale, digits)
        p = Cell(p_value(gap.get("p")), gap.get("p"), keys)
        rows.append(Row((cells.plain(label), *values, difference if gap else Cell(MISSING), p)))
    heads = [method(m) for m in report["methods"]]
    note = f"Interpolated where each run has spent {budget['budget']:.0f} {budget['unit']}; set by the shortest run."
    if budget["early"]:
        early = ", ".join(map(run_name, budget["early"]))
        note += f" {early} had spent it before the first evaluation point: read off the line from iteration 0."
    return Table("", cells.columns(("number (mean ± sd over seeds)",), *heads, "difference [95 %]", "p"), rows, note)
