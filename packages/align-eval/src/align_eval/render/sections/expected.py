"""The study's expectations beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Cell, Row, Section, Table
from align_eval.render.sources import Sources
from align_eval.render.text import method, p_value, with_sd

Json = Mapping[str, Any]

AGREES = {"yes": ("yes", "good"), "no": ("no", "bad"), "open": ("open", "muted")}

JUDGED = ("Variance across runs", "Final win rate")
"""Rows that come from the verdicts; the others are of the policies themselves."""


def expected(report: Json, sources: Sources) -> Section:
    """The table, a row an expectation."""
    rows = [Row(_cells(row, sources)) for row in report["trade_offs"]]
    words = ("trade-off", "expected of PPO", "expected of GRPO", "expected ahead")
    table = Table(
        "",
        (*cells.columns(words, "PPO", "GRPO"), *cells.columns(("verdict", "as expected"))),
        rows,
        "Measured: mean ± sd over seeds. A method counts as ahead when Welch's t-test over seeds (for the variance: "
        "the F-test) gives p < 0.05, or when no seed differs within a method. The expectations are the study's, for "
        f"Gemma 2B in 4 bits.{_drawn(report['runs'])}",
    )
    lead = "What the study expected of the two methods, what was measured, and whether the data decide."
    return Section("trade-offs", "Expected trade-offs and what was measured", [table], lead)


def _drawn(runs: Sequence[Json]) -> str:
    """How many times as many answers GRPO drew; nothing where a run's log does not say."""
    drawn = {name: [run["samples"]["responses"] for run in runs if run["method"] == name] for name in ("ppo", "grpo")}
    if not all(drawn.values()) or any(count is None for counts in drawn.values() for count in counts):
        return ""
    ratio = (sum(drawn["grpo"]) / len(drawn["grpo"])) / (sum(drawn["ppo"]) / len(drawn["ppo"]))
    return (
        f" A GRPO run drew {ratio:.1f} times as many answers as a PPO run, in as many iterations: rows at equal "
        "iterations compare unequal amounts of sampling, the last row equal ones."
    )


def _cells(row: Json, sources: Sources) -> tuple[Cell, ...]:
    role = "judgments" if row["metric"] in JUDGED else "policy"
    ahead = row["expected_advantage"]
    known = [row[f"measured_{m}"] is not None for m in ("ppo", "grpo")]
    said = row["verdict"] if not any(known) or all(known) else "nothing to compare"
    verdict: str = {"ppo": "PPO ahead", "grpo": "GRPO ahead"}.get(said, said)
    verdict += f" (p {p_value(row['p'])})" if row["p"] is not None else ""
    agrees, tone = AGREES[row["agrees"]]
    better = "higher is better" if row["higher_is_better"] else "lower is better"
    unit = f" ({row['unit']}; {better})" if row["unit"] else ""
    return (
        cells.plain(row["metric"] + unit),
        cells.plain(row["expected_ppo"]),
        cells.plain(row["expected_grpo"]),
        cells.plain(method(ahead), ahead),
        *(
            Cell(
                with_sd(row[f"measured_{m}"], row[f"sd_{m}"]),
                row[f"measured_{m}"],
                sources.method(m, role) if row[f"measured_{m}"] is not None else (),
            )
            for m in ("ppo", "grpo")
        ),
        cells.plain(verdict),
        cells.plain(agrees, tone),
    )
