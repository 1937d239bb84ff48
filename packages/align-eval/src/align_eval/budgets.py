"""The comparison at equal budgets: GRPO draws K answers where PPO draws one, so equal iterations are not equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from align_eval.algorithms.effect import effect
from align_eval.algorithms.mean import mean_interval
from align_eval.effects import compared
from align_eval.trajectory import Checkpoint, Trajectory, methods_of

Json = dict[str, Any]

UNITS = {
    "iterations": "iterations",
    "samples": "responses drawn",
    "tokens": "response tokens drawn",
    "equal_seconds": "seconds of training, evaluation aside",
}

NUMBERS = ("reward_mean", "kl", "perplexity", "gold", "win_rate_decided")
"""What is compared; those of the judge are null where it is not offline."""


def budgets(runs: Sequence[Trajectory], win_rates: Mapping[str, Mapping[int, float | None]]) -> dict[str, Json]:
    """Compare the runs where all of them had spent the same.

    The common budget is the total of the run that spent least. A run is read off its evaluation points there: the
    last one within the budget, and a straight line between the two around it.

    Args:
        runs: The runs.
        win_rates: Share of decided pairs won against iteration 0, by label and iteration.

    Returns:
        By kind of budget (`UNITS`): {unit, budget, set_by, reason, runs, early, methods, difference}; `early`
        lists the runs whose budget ends before their first evaluation point after the start.
    """
    return {kind: _budget(kind, runs, win_rates) for kind in UNITS}


def interpolate(x: float, places: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The value at x on straight lines between known points; None outside of them.

    Args:
        x: Where.
        places: Increasing places.
        values: A value at each place; None where it is not known.
    """
    known = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
    if not known or not known[0][0] <= x <= known[-1][0]:
        return None
    return float(np.interp(x, [place for place, _ in known], [value for _, value in known]))


def over_seeds(values: Sequence[float | None]) -> Json:
    """{value, sd, n, interval} over seeds; value is null without values."""
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "sd": None, "n": 0, "interval": None}
    found = mean_interval(known)
    return {"value": found.value, "sd": found.sd, "n": found.n, "interval": list(found.interval or ()) or None}


def difference(first: Sequence[float | None], second: Sequence[float | None]) -> Json:
    """Mean of the first minus mean of the second, with Welch's interval and p; nulls where they do not exist."""
    a, b = ([value for value in values if value is not None] for values in (first, second))
    found = effect(a, b)
    interval = list(found.welch_interval) if found.welch_interval else None
    return {"value": found.difference, "interval": interval, "p": found.welch_p}


def _budget(kind: str, runs: Sequence[Trajectory], wins: Mapping[str, Mapping[int, float | None]]) -> Json:
    empty: Json = {
        "unit": UNITS[kind],
        "budget": None,
        "set_by": [],
        "runs": [],
        "early": [],
        "methods": {},
        "difference": None,
    }
    if missing := [run.label for run in runs if kind not in run.spent]:
        return {**empty, "reason": f"the log of {', '.join(missing)} does not tell"}
    totals = {run.label: run.spent[kind][-1] for run in runs}
    common = min(totals.values())
    rows = [_run(run, kind, common, wins.get(run.label, {})) for run in runs]
    methods = {
        method: {name: over_seeds([r["interpolated"][name] for r in rows if r["method"] == method]) for name in NUMBERS}
        for method in methods_of(runs)
    }
    return {
        **empty,
        "budget": common,
        "set_by": [label for label, total in totals.items() if total == common],
        "reason": None,
        "runs": rows,
        "early": [run.label for run, row in zip(runs, rows, strict=True) if _early(run, row["iteration"])],
        "methods": methods,
        "difference": _difference(rows, list(methods)),
    }


def _difference(rows: Sequence[Json], methods: Sequence[str]) -> Json | None:
    pair = compared(methods)
    if len(pair) != 2:
        return None
    values = [{n: [r["interpolated"][n] for r in rows if r["method"] == method] for n in NUMBERS} for method in pair]
    return {"first": pair[0], "second": pair[1], **{n: difference(values[0][n], values[1][n]) for n in NUMBERS}}


def _run(run: Trajectory, kind: str, budget: float, wins: Mapping[int, float | None]) -> Json:
    spent = run.spent[kind]
    last = [point for point, cost in zip(run.checkpoints, spent, strict=True) if cost <= budget][-1]
    numbers = {name: [_number(point, name, wins) for point in run.checkpoints] for name in NUMBERS}
    iterations = [float(point.iteration) for point in run.checkpoints]
    return {
        "label": run.label,
        "method": run.method,
        "spent": spent[-1],
        "iteration": last.iteration,
        "at": {name: _number(last, name, wins) for name in NUMBERS},
        "interpolated": {
            "iteration": interpolate(budget, spent, iterations),
            **{name: interpolate(budget, spent, values) for name, values in numbers.items()},
        },
    }


def _early(run: Trajectory, iteration: int) -> bool:
    return bool(run.trained) and iteration < run.trained[0].iteration


def _number(point: Checkpoint, name: str, wins: Mapping[int, float | None]) -> float | None:
    if name == "gold":
        return point.gold_mean
    return wins.get(point.iteration) if name == "win_rate_decided" else point.facts.get(name)
