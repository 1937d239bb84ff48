"""Reward and gold score by strength of the adapter, and the methods side by side at equal KL."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Panel, Row, Table
from align_eval.render.plots import xy
from align_eval.render.plots.series import method_legend, run_legend, series
from align_eval.render.plots.xy import Curve, Plot
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, p_value

Json = Mapping[str, Any]

NUMBERS = {"reward_mean": "reward (raw score)", "gold": "gold score"}


def strengths(report: Json, sources: Sources) -> list[Block]:
    """The frontier of each run without retraining; nothing if no sweep was given."""
    sweep = report["sweep"]
    if sweep is None:
        return []
    panels = [panel for key in NUMBERS if (panel := _panel(report, sweep, key))]
    caption = (
        f"Each trained adapter at several strengths, from none to all of it, without retraining; {sweep['prompts']} "
        f"{sweep['split']} prompts. The thick line is the mean of a method's seeds at equal KL."
    )
    legend = [*method_legend(report, ranges=False), *run_legend(report)]
    figure = Figure("strength", "Frontier by strength of the adapter", panels, legend, caption)
    return [figure, _equal(report, sweep, sources)]


def _panel(report: Json, sweep: Json, key: str) -> Panel | None:
    points = {run["label"]: run["points"] for run in sweep["runs"]}
    curves = []
    for name in report["methods"]:
        grid = [(row["kl"] ** 0.5, row[name][key]) for row in sweep["equal_kl"]["grid"] if name in row]
        known = tuple((x, y) for x, y in grid if y is not None)
        curves.append(Curve(f"{method(name)}, mean", known, name, f"mean-{name}", width=2.4))
    for one in series(report):
        own = points.get(one.label, ())
        known = tuple((max(0.0, p["kl"]) ** 0.5, p[key]) for p in own if p[key] is not None)
        curves.append(Curve(one.name, known, one.tone, one.label, one.dash, 1.1, 0.65, 2.6))
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None
    said = [f"{c.name} from {fixed(c.points[0][1])} to {fixed(c.points[-1][1])}" for c in curves]
    plot = Plot("√KL (KL in nats a response token)", NUMBERS[key], curves)
    title = {"reward_mean": "Reward", "gold": "Gold score"}[key]
    return Panel(title, f"{NUMBERS[key]} against √KL: {'; '.join(said)}.", partial(xy.draw, plot))


def _equal(report: Json, sweep: Json, sources: Sources) -> Table:
    equal, keys = sweep["equal_kl"], sources.all("sweep")
    gaps = equal["difference"] or {}
    rows = []
    for key, label in NUMBERS.items():
        found = {m: equal["methods"].get(m, {}).get(key) for m in report["methods"]}
        gap = gaps.get(key) or {}
        if not any(one and one["value"] is not None for one in found.values()):
            continue
        values = [cells.spread(one, sources.method(m, "sweep"), 1.0, 3) for m, one in found.items()]
        difference = cells.estimate(gap.get("value"), gap.get("interval"), keys, 1.0, 3)
        rows.append(Row((cells.plain(label), *values, difference, Cell(p_value(gap.get("p")), gap.get("p"), keys))))
    heads = [method(name) for name in report["methods"]]
    note = f"At a KL of {fixed(equal['budget'], 4)} nats a response token, the largest that every run reached."
    columns = cells.columns(("number (mean ± sd over seeds)",), *heads, "difference [95 %]", "p")
    return Table("At equal KL", columns, rows, note)
