"""How sure the difference is: intervals of three kinds, equality, and what a study of this size can find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Keys, Paragraph, Row, Table
from align_eval.render.sources import Sources
from align_eval.render.text import MISSING, fixed, method, p_value, percent, span

Json = Mapping[str, Any]

SCORES = {"win_rate": "won of all pairs, points", "preference": "preferred (ties half), points"}


def how_sure(report: Json, sources: Sources) -> list[Block]:
    """Intervals of the win rates and of their difference; without them, why."""
    found = report["estimates"]
    if found["reason"]:
        return [Paragraph(f"No interval for other seeds and prompts: {found['reason']}.", kind="note")]
    rows = []
    for score, label in SCORES.items():
        for name, row in found[score]["methods"].items():
            keys = sources.method(name, "judgments")
            rows.append(_row(f"{method(name)}: {label}", name, row, keys))
        if gap := found[score]["difference"]:
            name = f"{method(gap['first'])} − {method(gap['second'])}: {label}"
            rows.append(_row(name, "", gap, sources.all("judgments"), strong=score == found["primary"]))
    numbers = ("value", "other seeds and prompts [95 %]", "p", "other seeds, same prompts [95 %]", "bootstrap [95 %]")
    note = (
        "Student's t on the seeds' means. The primary interval is widened by what prompts add, so it speaks of other "
        "seeds and other prompts of the same categories; the second one of other seeds on just these prompts. The "
        "bootstrap over seeds and prompts describes the data; with few seeds it is no confidence interval. A p is for "
        "no difference, of a method's preference for 50 %."
    )
    table = Table("How sure", cells.columns(("number",), *numbers), rows, note)
    return [table, *(Paragraph(text, sources.all("judgments")) for text in _equality(found))]


def _row(name: str, tone: str, row: Json, keys: Keys, strong: bool = False) -> Row:
    same = row["same_prompts"]
    p = Cell(p_value(row["p"]), row["p"], keys if row["p"] is not None else ())
    spans = [Cell(span(interval, 100, 1) or MISSING, None, keys) for interval in (same["interval"], row["bootstrap"])]
    value = cells.fixed(100 * row["value"], keys, 1)
    return Row((Cell(name, tone=tone), value, Cell(span(row["interval"], 100, 1), None, keys), p, *spans), strong)


def _equality(found: Json) -> list[str]:
    texts = []
    if equal := found["equivalence"]:
        margin, interval = fixed(100 * equal["margin"], 1), span(equal["interval_90"], 100, 1)
        verdict = "so equality within that margin is shown" if equal["equivalent"] else "so equality is not shown"
        texts.append(
            f"Equality: by two one-sided tests the 90 % interval of the difference, {interval} points, is set against "
            f"a margin of ±{margin} points (p = {p_value(equal['p'])}), {verdict}."
        )
    if (better := found["improvement"]) and (paired := found["by_prompt"]) and paired["better"] + paired["worse"]:
        gap = found["win_rate"]["difference"]
        first, second = method(gap["first"]), method(gap["second"])
        texts.append(
            f"Prompt by prompt: {first} does better than {second} on {paired['better']}, equally well on "
            f"{paired['equal']}, worse on {paired['worse']}; a {first} run beats a {second} run with probability "
            f"{percent(better['value'])} {span(better['bootstrap'], 100, 1)}, equals counted half."
        )
    return texts


def design(found: Json, sources: Sources) -> list[Block]:
    """What this design could have found, and what it would take to find less."""
    keys = sources.all("judgments")
    rows = [
        Row(
            (
                Cell(f"{fixed(100 * row['difference'], 0)} points", row["difference"], keys),
                cells.fixed(row["cohens_d"], keys, 1),
                cells.percent(row["power"], keys),
                _needed(row["seeds_needed"], keys),
                _needed(row["prompts_needed"], keys),
            )
        )
        for row in found["rows"]
    ]
    columns = cells.columns(
        (), "true difference", "as Cohen's d", "chance to find it", "seeds a method for 80 %", "or prompts for 80 %"
    )
    note = "From the spread that this study measured; a dash: no number is enough."
    return [Paragraph(found["text"], keys), Table("What a study of this size can find", columns, rows, note)]


def _needed(count: float | None, keys: Keys) -> Cell:
    return cells.count(count, keys if count is not None else ())
