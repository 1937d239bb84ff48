"""Length against win: whether longer (or shorter) answers win because of their length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from align_eval.alarms import VERBOSE
from align_eval.algorithms.mean import mean_interval
from align_eval.study import Row, Run, Study
from align_eval.summaries import count, longer_wins, rates

Json = dict[str, Any]

BINS = ("at most ½ ×", "½–0.8 ×", "0.8–1.25 ×", "1.25–2 ×", "2 × and more")
"""Length of the answer in multiples of SFT's on the same prompt; the middle one holds its own ends' inside."""
EDGES = (0.5, 0.8, 1.25, 2.0)

POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}
"""What an outcome counts in the correlation; invalid pairs are left out."""


def length(study: Study) -> Json:
    """Show how outcomes go with the length of an answer, relative to SFT's on the same prompt.

    Args:
        study: The runs.

    Returns:
        {bins, methods, runs, aa}; the correlation is Pearson's between outcome and log length ratio, for a run with
        Fisher's interval, for a method the mean over its seeds with Student's. `aa` has the rows of SFT against
        itself, where answers differ in length but not in the skill behind them.
    """
    theirs = {row["prompt_id"]: row["length"] for row in study.baseline_answers}
    pairs = {run.label: _pairs(run, theirs) for run in study.runs}
    runs = [_run(run, pairs[run.label], study.baseline_answers) for run in study.runs]
    methods = {}
    for method in study.methods:
        own = [row for row in runs if row["method"] == method]
        ratio = float(np.mean([row["length_ratio"] for row in own]))
        known = [row["correlation"]["value"] for row in own if row["correlation"]["value"] is not None]
        mean = mean_interval(known) if known else None
        methods[method] = {
            "bins": _binned([pair for run in study.of(method) for pair in pairs[run.label]]),
            "correlation": {
                "value": mean.value if mean else None,
                "interval": list(mean.interval) if mean and mean.interval else None,
                "n": len(known),
            },
            "length_ratio": ratio,
            "twice_as_long": ratio >= VERBOSE,
        }
    aa = [_run(run, _pairs(run, theirs), study.baseline_answers) for run in study.aa]
    return {"bins": list(BINS), "methods": methods, "runs": runs, "aa": aa}


def bin_of(ratio: float) -> int:
    """The place in `BINS` of a length ratio; ½ and 0.8 belong to the shorter bin, 1.25 and 2 to the longer."""
    low, near, far, high = EDGES
    if ratio <= low:
        return 0
    if ratio <= near:
        return 1
    if ratio < far:
        return 2
    return 3 if ratio < high else 4


def correlation(x: Sequence[float], y: Sequence[float]) -> Json:
    """Pearson's r with Fisher's 95 % interval tanh(artanh r ± 1.96/√(n − 3)).

    Args:
        x: One number a pair.
        y: The other.

    Returns:
        {value, interval, n}; nulls where one of the two does not vary or there are fewer than four pairs.

    Source:
        Fisher (1915), "Frequency distribution of the values of the correlation coefficient".
    """
    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"value": None, "interval": None, "n": n}
    r = float(np.corrcoef(x, y)[0, 1])
    if abs(r) >= 1.0:
        return {"value": r, "interval": None, "n": n}
    half = 1.959964 / math.sqrt(n - 3)
    return {"value": r, "interval": [math.tanh(math.atanh(r) + side * half) for side in (-1, 1)], "n": n}


def _pairs(run: Run, theirs: dict[str, int]) -> list[tuple[float, Row]]:
    """(length ratio, verdict) of each judged pair; an empty answer counts as one token."""
    mine = {row["prompt_id"]: row["length"] for row in run.answers}
    keys = [(verdict["prompt_id"], verdict) for verdict in run.verdicts]
    return [(max(1, mine[key]) / max(1, theirs[key]), verdict) for key, verdict in keys]


def _run(run: Run, pairs: Sequence[tuple[float, Row]], baseline: Sequence[Row]) -> Json:
    known = [(math.log(ratio), POINTS[row["outcome"]]) for ratio, row in pairs if row["outcome"] in POINTS]
    lengths = [sum(row["length"] for row in rows) / len(rows) for rows in (run.answers, baseline)]
    ratio = lengths[0] / max(lengths[1], 1e-9)
    judged = rates(count(run.verdicts))
    decided = judged["wilson"]
    return {
        "label": run.label,
        "method": run.method,
        "length_ratio": ratio,
        "correlation": correlation([x for x, _ in known], [y for _, y in known]),
        "longer_wins": longer_wins(run, baseline),
        "win_rate_decided": judged["win_rate_decided"],
        "wilson": decided,
        "twice_as_long_at_equal_win_rate": ratio >= VERBOSE and (decided is None or decided[0] <= 0.5),
    }


def _binned(pairs: Sequence[tuple[float, Row]]) -> list[Json]:
    found = []
    for place, name in enumerate(BINS):
        rows = [row for ratio, row in pairs if bin_of(ratio) == place]
        if rows:
            numbers = rates(count(rows))
            kept = ("n", "wins", "losses", "ties", "win_rate_decided", "wilson")
            found.append({"bin": name, **{key: numbers[key] for key in kept}})
    return found
