"""The model card of a policy: what it is, what it was made from, how well it does, and what it is not good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align_eval.render import cells
from align_eval.render.document import Block, Cell, Keys, Paragraph, Row, Table
from align_eval.render.markdown import blocks
from align_eval.render.sources import Sources, short
from align_eval.render.text import MISSING, duration, fixed, method, number, percent, run_name, share, size, span

Json = Mapping[str, Any]


def card(report: Json, label: str) -> str:
    """Write one card.

    Args:
        report: The document of `results.build`.
        label: The run's label, such as ``ppo-42``.

    Returns:
        Markdown.
    """
    facts = report["policies"][label]
    run = next(run for run in report["runs"] if run["label"] == label)
    sources = Sources(report)
    body: list[Block] = [
        Paragraph(_what(report, facts, run)),
        _made_from(facts),
        _evaluation(report, run, sources),
        _categories(run, sources),
        _settings(facts),
    ]
    parts = [f"# Model card: {run_name(label)}"]
    parts += [part for block in body for part in blocks(block, 2)]
    parts += ["## Limits", *(part for text in limits(report, run) for part in blocks(Paragraph(text, kind="finding")))]
    parts += ["## Sources", "The keys in the columns named source stand for these artifacts.", _keys(report, label)]
    return "\n\n".join(parts) + "\n"


def _what(report: Json, facts: Json, run: Json) -> str:
    base, chosen = facts["base"], facts["selection"]
    text = (
        f"{method(run['method'])} trained this policy, with seed {run['seed']}, from the SFT policy "
        f"{facts['sft']['name']} on {base['architecture']} ({base['source']}, "
        f"{base['parameters']} parameters); its form is {facts['form']}."
    )
    if facts["control"] == "null":
        text += " It is a null control: nothing was learned."
    where = facts["environment"]
    text += f" It was trained on {where['chip']} ({where['os']}) with MLX {where['mlx_version']}."
    if chosen:
        gate = "passed" if chosen["gate_passed"] else "did not pass"
        text += (
            f" Published is the checkpoint of iteration {chosen['step']}, chosen by the rule "
            f"{chosen['rule']}; it {gate} the KL gate."
        )
    return text


def _made_from(facts: Json) -> Table:
    base, data, bits = facts["base"], facts["data"], facts["base"]["quantization"]
    form = "" if bits is None else f", {bits['bits']} bits in groups of {bits['group_size']}"
    rows = [
        (
            "base model",
            base["name"],
            f"{base['source']}, {base['architecture']}{form}",
            base["license"],
            base["digest"],
        ),
        (
            "SFT policy",
            facts["sft"]["name"],
            "where training started, and the reference of KL",
            None,
            facts["sft"]["digest"],
        ),
        ("reward model", facts["reward_model"]["name"], "gave the rewards", None, facts["reward_model"]["digest"]),
        (
            "data",
            data["name"],
            _source(data),
            data["license"],
            data["digest"],
        ),
        ("this policy", facts["name"], "", None, facts["digest"]),
    ]
    texts = [(*row[:3], row[3] or MISSING, row[4][:24]) for row in rows]
    columns = cells.columns(("part", "artifact", "what it is", "licence", "content digest"))
    note = "A dash: the manifest names no licence; ask where the artifact came from before you pass it on."
    return Table("Made from", columns, [Row(tuple(Cell(text) for text in row)) for row in texts], note)


def _source(data: Json) -> str:
    prompts = data["counts"].get("prompts_train")
    known = (data["source"], data["revision"], prompts and f"{prompts} training prompts")
    return ", ".join(str(part) for part in known if part)


def _evaluation(report: Json, run: Json, sources: Sources) -> Table:
    label = run["label"]
    judged, answered, trained = (sources.run(label, role) for role in ("judgments", "responses", "policy"))
    seconds, memory = run.get("training_seconds"), run.get("peak_memory_bytes")
    rows: list[tuple[str, str, Keys]] = [
        ("pairs won against SFT", share(run["win_rate"], run["win_rate_wilson"]), judged),
        ("decided pairs won against SFT", share(run["win_rate_decided"], run["wilson"]), judged),
        ("ties; unreadable verdicts", f"{percent(run['tie_rate'])}; {percent(run['invalid_rate'])}", judged),
        ("reward (raw score)", f"{fixed(run['reward_mean'])} {span(run['reward_interval'])}".strip(), answered),
        ("reward gain over SFT", f"{fixed(run['reward_gain'])} {span(run['reward_gain_interval'])}".strip(), answered),
        (
            "response length, tokens",
            f"{fixed(run['response_length_mean'], 1)} {span(run['response_length_interval'], 1, 1)}".strip(),
            answered,
        ),
        ("KL against SFT, nats a response token", number(run["kl"]), trained),
        ("perplexity of the chosen validation answers", fixed(run["perplexity"]), trained),
        ("training time", duration(seconds), trained),
        ("peak memory", size(memory), trained),
    ]
    judge = report["judge"]
    order = "both orders" if judge["swapped"] else "one order"
    note = f"{judge['prompts']} held-out prompts, judge {judge['name']} in {order}; intervals are 95 %."
    made = [Row((Cell(name), Cell(text, None, keys))) for name, text, keys in rows if text != MISSING]
    return Table("Evaluation", cells.columns(("number", "value")), made, note)


def _categories(run: Json, sources: Sources) -> Table:
    keys = sources.run(run["label"], "judgments")
    rows = [
        Row((Cell(name), cells.count(row["n"], keys), cells.share(row["win_rate_decided"], row["wilson"], keys)))
        for name, row in run["categories"].items()
    ]
    return Table("By category", cells.columns(("category",), "pairs", "won of decided [95 %]"), rows)


def _settings(facts: Json) -> Table:
    rows = [Row((Cell(name), Cell(_text(value)))) for name, value in sorted(facts["config"].items())]
    return Table("Hyperparameters", cells.columns(("setting", "value")), rows)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def limits(report: Json, run: Json) -> list[str]:
    """What the numbers of a card do not show, and the warnings that name its run."""
    judge, seeds = report["judge"], report["methods"][run["method"]]["seeds"]
    found = [
        f"The win rate is the judge's opinion ({judge['name']}), against one SFT policy's answers, on "
        f"{judge['prompts']} prompts of the same source as the training data; "
        "other judges, prompts and languages were not tried.",
        f"This is one of {len(seeds)} seeds of {method(run['method'])}; another seed gives another policy. "
        "The report compares methods over the seeds.",
        "Safety, truthfulness and bias were not measured. A reward model stands for human preference only where "
        "its data reach.",
    ]
    return found + [one["text"] for one in report["warnings"] if run["label"] in one["runs"]]


def _keys(report: Json, label: str) -> str:
    rows = [row for row in report["inputs"] if row["run"] in (None, label)]
    lines = ["| key | artifact | role | content digest |", "| --- | --- | --- | --- |"]
    return "\n".join(
        lines + [f"| {short([r['key']])} | {r['name']} | {r['role']} | `{r['content_digest']}` |" for r in rows]
    )
