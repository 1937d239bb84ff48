"""The ledger: what was proved equal, what varies by design, and the artifacts behind the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Paragraph, Row, Section, Table
from align_eval.render.sources import Sources
from align_eval.render.text import plural

Json = Mapping[str, Any]


def controlled(report: Json, _: Sources) -> Section:
    """Controlled and varied variables."""
    ledger = report["ledger"]
    off = [entry for entry in ledger["controlled"] if not entry["equal"]]
    held = f"{plural(len(ledger['controlled']), 'variable')} were compared between the runs' manifests"
    text = f"{held}; {len(off)} of them differ." if off else f"{held}, and all are equal."
    blocks: list[Block] = [Paragraph(text, kind="care" if off else "plain")]
    rows = [
        Row((cells.plain(entry["name"]), cells.plain(entry["value"]), _equal(entry["equal"])))
        for entry in sorted(ledger["controlled"], key=lambda entry: entry["equal"])
    ]
    blocks.append(Table("Held equal in every run", cells.columns(("variable", "value", "equal")), rows, fold=2))
    free = [Row((cells.plain(entry["name"]), cells.plain(entry["value"]))) for entry in ledger["varied"]]
    blocks.append(Table("Belongs to one method, or left free", cells.columns(("variable", "value")), free, fold=2))
    if warned := ledger.get("warned"):
        rows = [Row((cells.plain(entry["name"]), cells.plain(entry["value"], "care"))) for entry in warned]
        blocks.append(Table("Differs, and should be looked at", cells.columns(("variable", "value")), rows, fold=2))
    lead = (
        "A comparison of methods is one only if nothing else differs. This was checked before any number was computed."
    )
    return Section("ledger", "Controlled variables", blocks, lead)


def _equal(equal: bool) -> Any:
    return cells.plain("yes" if equal else "DIFFERS", "good" if equal else "bad")
