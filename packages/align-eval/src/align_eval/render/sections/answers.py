"""What the policies say: answers side by side, and responses token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render.document import Answer, Answers, Block, Section, Tabs, Token, Tokens
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, plural, run_name

Json = Mapping[str, Any]


def answers(report: Json, _: Sources) -> Section | None:
    """Samples by category and token views by run; None if the report has neither."""
    found = report.get("diagnostics", {})
    blocks: list[Block] = []
    samples = found.get("samples") or ()
    names = list(dict.fromkeys(one["category"] for one in samples))
    if names:
        parts = [(name, [_sample(one) for one in samples if one["category"] == name]) for name in names]
        blocks.append(Tabs("Answers side by side", parts))
    views = (found.get("tokens") or {}).get("views") or ()
    if views:
        blocks.append(Tabs("Token by token", [(_view_name(view), [_view(view)]) for view in views]))
    lead = "A number is a summary; these are the words behind it."
    return Section("answers", "Answers", blocks, lead) if blocks else None


def _sample(one: Json) -> Answers:
    return Answers(one["prompt"], one["why"], [_answer(row) for row in one["answers"]])


def _answer(row: Json) -> Answer:
    facts = [plural(row["length"], "token")] if row["length"] is not None else []
    facts += [f"reward {fixed(row['reward'])}"] if row["reward"] is not None else []
    facts += [f"score {fixed(row['score'])}"] if row.get("score") is not None else []
    name = "SFT" if row["label"] == "sft" else run_name(row["label"])
    return Answer(
        name, row["method"], row["text"] + (" …" if row["cut"] else ""), ", ".join(facts), row["outcome"] or ""
    )


def _view_name(view: Json) -> str:
    return f"{run_name(view['label'])}, {view['source']}"


def _view(view: Json) -> Tokens:
    known = [abs(t["advantage"]) for t in view["tokens"] if t["advantage"] is not None]
    largest = max(known, default=0.0) or 1.0
    tokens = []
    for token in view["tokens"]:
        numbers = {
            name: token.get(key) for key, name in _NUMBERS if any(t.get(key) is not None for t in view["tokens"])
        }
        tokens.append(Token(token["text"], (token["advantage"] or 0.0) / largest, numbers))
    facts = [f"{method(view['method'])}, iteration {view['iteration']}", f"reward {fixed(view['reward'])}"]
    facts += [f"gold score {fixed(view['gold'])}"] if view.get("gold") is not None else []
    if group := view.get("group"):
        facts.append("group rewards " + ", ".join(fixed(r) for r in group["rewards"]))
    facts.append(f"largest advantage {fixed(largest)}")
    return Tokens(_view_name(view), view["method"], view["prompt"], "; ".join(facts), tokens)


_NUMBERS = (
    ("advantage", "advantage"),
    ("value", "value"),
    ("logprob", "log-prob"),
    ("ref_logprob", "reference log-prob"),
    ("log_ratio", "log-ratio"),
)
