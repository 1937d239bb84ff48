"""What the policies say: answers side by side, and responses token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render.document import Answer, Answers, Block, Paragraph, Section, Tabs, Token, Tokens
from align_eval.render.sources import Sources
from align_eval.render.text import fixed, method, plural, run_name

Json = Mapping[str, Any]


def answers(report: Json, _: Sources) -> Section | None:
    """Samples by category and token views by run; None if the report has neither."""
    found = report["diagnostics"]
    blocks: list[Block] = []
    samples = found["samples"]
    names = list(dict.fromkeys(one["category"] for one in samples))
    if names:
        parts = [(name, [_sample(one) for one in samples if one["category"] == name]) for name in names]
        blocks.append(Tabs("Answers side by side", parts))
    views = found["tokens"]["views"]
    if views:
        labels = list(dict.fromkeys(view["label"] for view in views))
        found_views = [(run_name(one), [_view(view) for view in views if view["label"] == one]) for one in labels]
        blocks.append(Tabs("Token by token", found_views))
        blocks += [Paragraph(f"{text}.", kind="note") for text in found["tokens"]["missing"]]
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


def _view(view: Json) -> Tokens:
    """Coloured by advantage; by how far the policy moved from the reference where no advantage was kept."""
    rows = view["tokens"]
    known = {key: [abs(t[key]) for t in rows if t.get(key) is not None] for key in ("advantage", "log_ratio")}
    measure = "advantage" if known["advantage"] else "log_ratio"
    largest = max(known[measure], default=0.0) or 1.0
    present = [(key, name) for key, name in _NUMBERS if any(t.get(key) is not None for t in rows)]
    tokens = [
        Token(token["text"], (token[measure] or 0.0) / largest, {name: token.get(key) for key, name in present})
        for token in rows
    ]
    facts = [f"{method(view['method'])}, {view['source']}, iteration {view['iteration']}"]
    facts += [f"reward {fixed(view['reward'])}"] if view["reward"] is not None else []
    facts += [f"gold score {fixed(view['gold'])}"] if view.get("gold") is not None else []
    if group := view.get("group"):
        facts.append("group rewards " + ", ".join(fixed(reward) for reward in group["rewards"]))
    facts.append(f"colour: {dict(_NUMBERS)[measure]}, at most {fixed(largest)}")
    return Tokens(run_name(view["label"]), view["method"], view["prompt"], "; ".join(facts), tokens)


_NUMBERS = (
    ("advantage", "advantage"),
    ("value", "value"),
    ("logprob", "log-prob"),
    ("ref_logprob", "reference log-prob"),
    ("log_ratio", "log-ratio to the reference"),
)
