"""Outcomes looked at three ways: reward inflation, ties, and the table by category."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from align_eval.alarms import TIE_ALARM
from align_eval.algorithms.wilson import wilson
from align_eval.budgets import over_seeds
from align_eval.study import Run, Study
from align_eval.summaries import count, paired_gain, rates

Json = dict[str, Any]


def inflation(runs: Sequence[Json]) -> Json:
    """Whether the judge follows the reward model: reward up and win rate flat is inflation.

    Args:
        runs: Numbers of the runs, as `summaries.run_numbers` gives them.

    Returns:
        {runs: […]}; `reward_up` and `wins_up` mean that the interval lies above no change.
    """
    found = []
    for run in runs:
        gain, share = run["reward_gain_interval"], run["wilson"]
        up, wins = bool(gain and gain[0] > 0), bool(share and share[0] > 0.5)
        kept = ("label", "method", "reward_gain", "reward_gain_interval", "win_rate_decided", "wilson")
        row = {name: run[name] for name in kept}
        found.append({**row, "reward_up": up, "wins_up": wins, "inflated": up and not wins})
    return {"runs": found}


def ties(study: Study) -> Json:
    """Tie rate of each run, of the A/A row, and of each method in each category.

    Args:
        study: The runs.

    Returns:
        {threshold, alarm, rows}; a row of a run has no category, a row of a category no label.
    """
    rows = [_tie(run.label, run.method, None, run.verdicts) for run in study.runs]
    if study.aa:
        rows.append(_tie("A/A", "sft", None, [row for run in study.aa for row in run.verdicts]))
    for method in study.methods:
        for name, verdicts in _by_category(study.of(method)).items():
            rows.append(_tie(None, method, name, verdicts))
    alarm = any(row["alarm"] for row in rows if row["label"] not in (None, "A/A"))
    return {"threshold": TIE_ALARM, "alarm": alarm, "rows": rows}


def categories(study: Study) -> list[Json]:
    """The table by category: all seeds of a method together, and over its seeds.

    Args:
        study: The runs.

    Returns:
        One row a category and method: the rates of all pairs, `over_seeds` (mean, sd, n and Student-t interval of the
        share of decided pairs won), reward_gain (null if not scored) and length_ratio against SFT's answers.
    """
    names = dict.fromkeys(row["category"] for run in study.runs for row in run.verdicts)
    return [_category(study, name, method) for name in names for method in study.methods]


def _category(study: Study, name: str, method: str) -> Json:
    runs = study.of(method)
    verdicts = [[row for row in run.verdicts if row["category"] == name] for run in runs]
    numbers = rates(count(row for rows in verdicts for row in rows))
    shares = [rates(count(rows))["win_rate_decided"] for rows in verdicts if rows]
    answers = [[row for row in run.answers if row["category"] == name] for run in runs]
    base = [row for row in study.baseline_answers if row["category"] == name]
    gains = [paired_gain(rows, base, "reward")["value"] for rows in answers]
    mine = np.mean([row["length"] for rows in answers for row in rows])
    kept = ("n", "wins", "losses", "ties", "invalid", "win_rate", "win_rate_decided", "wilson")
    return {
        "category": name,
        "method": method,
        **{key: numbers[key] for key in kept},
        "over_seeds": over_seeds(shares),
        "reward_gain": None if None in gains else float(np.mean(gains)),
        "length_ratio": float(mine / max(1e-9, np.mean([row["length"] for row in base]))),
    }


def _by_category(runs: Sequence[Run]) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for run in runs:
        for row in run.verdicts:
            found.setdefault(row["category"], []).append(row)
    return found


def _tie(label: str | None, method: str, category: str | None, verdicts: Sequence[Json]) -> Json:
    counts = count(verdicts)
    rate = counts.ties / counts.n
    interval = list(wilson(counts.ties, counts.n))
    row = {"label": label, "method": method, "category": category, "tie_rate": rate, "wilson": interval, "n": counts.n}
    return {**row, "alarm": rate > TIE_ALARM}
