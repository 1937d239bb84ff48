"""Length and reward beside the win rate: verbosity bias and reward inflation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Figure, Panel, Row, Section, Table
from align_eval.render.plots import forest
from align_eval.render.plots.forest import Estimate, Forest
from align_eval.render.sources import Sources
from align_eval.render.text import method, share

Json = Mapping[str, Any]


def lengths(report: Json, sources: Sources) -> Section:
    """Length against win, reward against win."""
    found = report["diagnostics"]
    decided = any(
        one["win_rate_decided"] is not None for row in found["length"]["methods"].values() for one in row["bins"]
    )
    blocks: list[Block] = [_bins(found["length"])] if decided else []
    blocks += [_table(report, sources), _controlled(report, sources), _inflation(report, sources)]
    lead = (
        "A judge that likes long answers gives wins for length; a policy can please the reward model without pleasing "
        "the judge. Both would show here."
    )
    return Section("length", "Length, reward and wins", blocks, lead)


def _bins(found: Json) -> Figure:
    panels = []
    for name, row in found["methods"].items():
        rows = [
            Estimate(
                f"{one['bin']}  (n {one['n']})", one["win_rate_decided"], one["wilson"], name,
                share(one["win_rate_decided"], one["wilson"]),
            )
            for one in row["bins"]
        ]  # fmt: skip
        plot = Forest(rows, "share of decided pairs won", 0.5, True, (0.3, 0.8), left=132.0)
        alt = "; ".join(f"{one.name}: {one.text}" for one in rows) + "."
        panels.append(Panel(method(name), alt, partial(forest.draw, plot), 440.0, plot.height))
    caption = "Pairs by how many times as long the answer is as SFT's to the same prompt."
    return Figure("length", "Wins by length of the answer", panels, caption=caption)


def _table(report: Json, sources: Sources) -> Table:
    found = report["diagnostics"]["length"]
    own = {run["label"]: run for run in report["runs"]}
    rows = []
    for row in (*found["runs"], *found["aa"]):
        run = own.get(row["label"])
        keys = sources.run(row["label"], "responses", "judgments")
        longer, correlation = row["longer_wins"], row["correlation"] or {"value": None, "interval": None}
        rows.append(
            Row(
                (
                    cells.run(row)
                    if run
                    else Cell(f"A/A: SFT, sampling seed {row['label'].partition('-')[2]}", tone="sft"),
                    cells.fixed(run["response_length_mean"] if run else None, keys, 1),
                    cells.fixed(row["length_ratio"], keys),
                    cells.share(longer["value"], longer["wilson"], keys),
                    cells.estimate(correlation["value"], correlation["interval"], keys),
                    cells.share(row["win_rate_decided"], row["wilson"], keys),
                )
            )
        )
    numbers = (
        "tokens",
        "times SFT's length",
        "longer answer won [95 %]",
        "r of length and win [95 %]",
        "won of decided",
    )
    note = (
        "The longer answer won: among decided pairs of different length. Below 50 % says nothing by itself: answers "
        "that are mostly shorter, and mostly win, give that without any effect of length. r, Pearson's correlation of "
        "the outcome with the logarithm of the length ratio, is near 0 if length does not matter."
    )
    return Table("Length", cells.columns(("run",), *numbers), rows, note)


def _controlled(report: Json, sources: Sources) -> Table:
    rows = []
    for run in report["runs"]:
        keys = sources.run(run["label"], "responses", "judgments")
        equal, interval = run["length_controlled_win_rate"], run["length_controlled_interval"]
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.percent(run["preference_mean"], keys),
                    cells.share(equal, interval, keys),
                    cells.fixed(run["length_coefficient"], keys),
                    cells.percent(run["longer_rate"], keys),
                )
            )
        )
    for name, row in report["methods"].items():
        keys = sources.method(name, "responses", "judgments")
        means = [cells.spread(row[key], keys, 100.0, 1) for key in ("preference_mean", "length_controlled_win_rate")]
        rows.append(Row((cells.method(name, ", mean ± sd, %"), *means, Cell(""), Cell("")), strong=True, total=True))
    numbers = ("preferred (ties half)", "at equal lengths [95 %]", "length coefficient", "longer than SFT's")
    note = (
        "At equal lengths: what a logistic model of all verdicts, with the method, the prompt and the difference in "
        "length as terms, predicts for answers as long as SFT's. A coefficient above 0 means that the judge "
        "likes length."
    )
    return Table("Preferred at equal lengths", cells.columns(("run",), *numbers), rows, note)


def _inflation(report: Json, sources: Sources) -> Table:
    rows = []
    for run in report["diagnostics"]["inflation"]["runs"]:
        answered, judged = (sources.run(run["label"], role) for role in ("responses", "judgments"))
        rows.append(
            Row(
                (
                    cells.run(run),
                    cells.estimate(run["reward_gain"], run["reward_gain_interval"], answered),
                    cells.share(run["win_rate_decided"], run["wilson"], judged),
                    cells.plain("inflated" if run["inflated"] else "no", "bad" if run["inflated"] else "good"),
                )
            )
        )
    note = "Inflated: the reward model likes the answers better than SFT's, the judge does not."
    columns = (
        *cells.columns(("run",), "reward gain over SFT [95 %]", "won of decided [95 %]"),
        *cells.columns(("inflation",)),
    )
    return Table("Reward and wins", columns, rows, note)
