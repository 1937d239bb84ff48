"""Who won how often: every run, method and category with its interval, the judge's own null, order sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Keys, Panel, Paragraph, Row, Section, Table, Tabs
from align_eval.render.plots import forest
from align_eval.render.plots.forest import Estimate, Forest, Parts
from align_eval.render.sources import Sources
from align_eval.render.text import method, percent, run_name, share

Json = Mapping[str, Any]

COUNTS = ("pairs", "win", "loss", "tie", "invalid", "won of decided [95 %]")
DECIDED = "share of decided pairs won, 95 % Wilson interval"


def winning(report: Json, sources: Sources) -> Section:
    """Win rates, outcomes, categories and the order of the answers."""
    blocks: list[Block] = [_verdicts(report, sources), _outcomes(report)]
    parts = [(name, _category(report, name, sources)) for name in _categories(report)]
    if parts:
        blocks.append(Tabs("By category", parts))
    blocks += [_over_seeds(report, sources), *_ties(report["diagnostics"]["ties"], sources), _orders(report, sources)]
    lead = (
        "Every answer was judged against SFT's answer to the same prompt. Decided pairs are wins and losses; ties and "
        "unreadable verdicts stay out of their share, and are counted."
    )
    return Section("win-rates", "Win rates", blocks, lead)


def repeated(report: Json, name: str) -> bool:
    """Whether a method has several runs, so that a row over all its seeds says more than the run's own."""
    return len(report["methods"][name]["seeds"]) > 1


def rates(report: Json) -> list[Block]:
    """Every run and method with its interval, and the A/A row; nothing where no pair was decided."""
    rows = []
    for name in report["methods"]:
        rows += [_estimate(run_name(run["label"]), name, run) for run in report["runs"] if run["method"] == name]
        if repeated(report, name):
            rows.append(_estimate(f"{method(name)}, all seeds", name, report["pooled"][name], strong=True))
    if report["aa"]:
        rows.append(_estimate("A/A: SFT, SFT", "sft", report["aa"]))
    return _forest("win_rates", "Won of decided pairs", rows)


def _forest(name: str, title: str, rows: list[Estimate]) -> list[Block]:
    if all(row.value is None for row in rows):
        return []
    plot = Forest(rows, DECIDED, 0.5, percent=True, least=(0.35, 0.75))
    alt = "; ".join(f"{row.name} {row.text}" for row in rows) + "."
    return [Figure(name, title, [Panel("", alt, partial(forest.draw, plot), 720.0, plot.height)])]


def _estimate(name: str, tone: str, row: Json, strong: bool = False) -> Estimate:
    value, interval = row["win_rate_decided"], row.get("interval", row["wilson"])
    return Estimate(name, value, interval, tone, share(value, interval), strong)


def _verdicts(report: Json, sources: Sources) -> Table:
    rows = [Row((cells.run(run), *_counts(run, sources.run(run["label"], "judgments")))) for run in report["runs"]]
    for name in filter(partial(repeated, report), report["methods"]):
        counts = _counts(report["pooled"][name], sources.method(name, "judgments"))
        rows.append(Row((cells.method(name, ", all seeds"), *counts), strong=True, total=True))
    if report["aa"]:
        rows.append(Row((Cell("A/A: SFT against SFT", tone="sft"), *_counts(report["aa"], sources.aa("judgments")))))
    return Table(
        "Verdicts against SFT",
        cells.columns(("run",), *COUNTS),
        rows,
        "win, loss, tie and invalid are shares of all pairs; the interval is Wilson's. Over all seeds the prompt is "
        "the unit: runs share prompts and SFT's answers.",
    )


def _counts(row: Json, keys: Keys) -> tuple[Cell, ...]:
    rates = (cells.percent(row[name], keys) for name in ("win_rate", "loss_rate", "tie_rate", "invalid_rate"))
    return (
        cells.count(row["n"], keys),
        *rates,
        cells.share(row["win_rate_decided"], row.get("interval", row["wilson"]), keys),
    )


def _outcomes(report: Json) -> Figure:
    rows = [(run_name(run["label"]), run["method"], _parts(run, run["method"])) for run in report["runs"]]
    if report["aa"]:
        rows.append(("A/A: SFT, SFT", "sft", _parts(report["aa"], "sft")))
    plot = Parts(rows)
    alt = "; ".join(
        f"{name}: " + ", ".join(f"{what} {100 * s:.0f} %" for s, _, what in parts) for name, _, parts in rows
    )
    panel = Panel("", alt + ".", partial(forest.draw_parts, plot), 720.0, plot.height)
    caption = "Per cent of all pairs, from left to right: won (the method's colour), tied, lost, invalid."
    return Figure("outcomes", "Wins, ties and losses", [panel], caption=caption)


def _parts(row: Json, tone: str) -> list[tuple[float, str, str]]:
    names = (("win_rate", tone, "won"), ("tie_rate", "tie", "tied"), ("loss_rate", "loss", "lost"))
    return [(row[key], fill, what) for key, fill, what in (*names, ("invalid_rate", "invalid", "invalid"))]


def _categories(report: Json) -> list[str]:
    return list(dict.fromkeys(name for run in report["runs"] for name in run["categories"]))


def _category(report: Json, name: str, sources: Sources) -> list[Block]:
    found = [(run, run["categories"][name]) for run in report["runs"] if name in run["categories"]]
    rows = [Row((cells.run(run), *_counts(row, sources.run(run["label"], "judgments")))) for run, row in found]
    estimates = [_estimate(run_name(run["label"]), run["method"], row) for run, row in found]
    for row in report["diagnostics"]["categories"]:
        if row["category"] == name and repeated(report, row["method"]):
            counts = _counts(_with_rates(row), sources.method(row["method"], "judgments"))
            rows.append(Row((cells.method(row["method"], ", all seeds"), *counts), strong=True, total=True))
            estimates.append(_estimate(f"{method(row['method'])}, all seeds", row["method"], row, strong=True))
    table = Table("", cells.columns(("run",), *COUNTS), rows)
    return [*_forest(f"category_{name}", f"Won of decided pairs: {name}", estimates), table]


def _with_rates(row: Json) -> Json:
    shares = {"loss_rate": "losses", "tie_rate": "ties", "invalid_rate": "invalid"}
    return {**row, **{rate: row[count] / row["n"] for rate, count in shares.items()}}


def _over_seeds(report: Json, sources: Sources) -> Table:
    rows = []
    for row in report["diagnostics"]["categories"]:
        judged, answered = (sources.method(row["method"], role) for role in ("judgments", "responses"))
        seeds = row["over_seeds"]
        rows.append(
            Row(
                (
                    cells.plain(row["category"]),
                    cells.method(row["method"]),
                    cells.share(seeds["value"], seeds["interval"], judged),
                    cells.percent(row["win_rate"], judged),
                    cells.fixed(row["reward_gain"], answered),
                    cells.fixed(row["length_ratio"], answered),
                )
            )
        )
    numbers = ("won of decided, over seeds [95 %]", "won of all", "reward gain over SFT", "times SFT's length")
    note = "Over seeds: mean of the seeds with Student's t interval."
    return Table("Categories at a glance", cells.columns(("category", "method"), *numbers), rows, note)


def _ties(ties: Json, sources: Sources) -> list[Block]:
    """The alarm, for runs, for the A/A row and for methods by category."""
    if not ties["rows"]:
        return []
    high = [f"{_who(row)} {percent(row['tie_rate'])}" for row in ties["rows"] if row["alarm"]]
    most = max(ties["rows"], key=lambda row: row["tie_rate"])
    bound = percent(ties["threshold"], 0)
    text = (
        f"Tie alarm, above {bound} ties the judge hardly tells answers apart: {'; '.join(high)}."
        if high
        else f"No tie alarm: neither a run, the A/A row nor a category has above {bound} ties; the most has "
        f"{_who(most)} with {percent(most['tie_rate'])}."
    )
    return [Paragraph(text, sources.all("judgments"), "care" if high else "plain")]


def _who(row: Json) -> str:
    name = (
        "the A/A row" if row["method"] == "sft" else run_name(row["label"]) if row["label"] else method(row["method"])
    )
    return f"{name} in {row['category']}" if row["category"] else name


def _orders(report: Json, sources: Sources) -> Table:
    rows = []
    for run in report["runs"]:
        keys = sources.run(run["label"], "judgments")
        flips = cells.share(run["order_flip_rate"], run["order_flip_interval"], keys)
        first = cells.share(run["first_place_rate"], run["first_place_interval"], keys)
        rows.append(Row((cells.run(run), flips, first)))
    return Table(
        "Does the order of the answers matter to the judge?",
        cells.columns(("run",), "verdicts that flip with the order [95 %]", "first answer preferred [95 %]"),
        rows,
        "Each pair is judged in both orders. A judge without a preference for a place names the first answer in 50 % "
        "of its verdicts; pairs whose two verdicts contradict each other count as ties.",
    )
