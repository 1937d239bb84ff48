"""Answers side by side: the same prompts, SFT and every run, with verdicts and rewards."""

from __future__ import annotations

from typing import Any

from align_eval.study import Row, Run, Study

Json = dict[str, Any]

LONGEST = 2000
"""Characters of an answer that the report shows."""

POINTS = {"win": 1, "loss": -1}

FIRST, MOST_WON, MOST_LOST = "first of its category", "won most often", "won least often"


def samples(study: Study) -> list[Json]:
    """Choose prompts by rule and put the answers to them together.

    Of each category: the first prompt, which nobody picked, and those won most and least often over all runs, which are
    extremes and are called so.

    Args:
        study: The runs.

    Returns:
        One row a prompt: {prompt_id, prompt, category, why, answers}, SFT's answer first.
    """
    rows = {row["prompt_id"]: row for row in study.baseline_answers}
    outcomes = {run.label: {row["prompt_id"]: row for row in run.verdicts} for run in study.runs}
    shared = [key for key in rows if all(key in of for of in outcomes.values())]
    net = {key: sum(POINTS.get(of[key]["outcome"], 0) for of in outcomes.values()) for key in shared}
    found = []
    for category in dict.fromkeys(rows[key]["category"] for key in shared):
        keys = [key for key in shared if rows[key]["category"] == category]
        picked = {keys[0]: FIRST}
        picked.setdefault(max(keys, key=lambda key: net[key]), MOST_WON)
        picked.setdefault(min(keys, key=lambda key: net[key]), MOST_LOST)
        found += [_sample(study, rows[key], why, outcomes) for key, why in picked.items()]
    return found


def _sample(study: Study, sft: Row, why: str, outcomes: dict[str, dict[str, Row]]) -> Json:
    key = sft["prompt_id"]
    verdicts = [outcomes[run.label][key] for run in study.runs]
    answers = [_answer("sft", "sft", sft, None, verdicts[0].get("score_baseline"))]
    for run, verdict in zip(study.runs, verdicts, strict=True):
        answers.append(
            _answer(run.label, run.method, _row(run, key), verdict["outcome"], verdict.get("score_candidate"))
        )
    kept = {name: sft[name] for name in ("prompt_id", "prompt", "category")}
    return {**kept, "why": why, "answers": answers}


def _row(run: Run, key: str) -> Row:
    return next(row for row in run.answers if row["prompt_id"] == key)


def _answer(label: str, method: str, row: Row, outcome: str | None, score: float | None) -> Json:
    text = row["response"]
    return {
        "label": label,
        "method": method,
        "text": text[:LONGEST],
        "cut": len(text) > LONGEST or bool(row.get("truncated")),
        "reward": row["reward"],
        "length": row["length"],
        "outcome": outcome,
        "score": score,
    }
