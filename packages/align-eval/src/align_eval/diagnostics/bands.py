"""Curves over the iterations, with a band from the lowest to the highest seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from align_eval.trajectory import Trajectory, methods_of

Json = dict[str, Any]
Series = Mapping[int, float]

EVALUATION = {
    "reward_mean": "reward (raw score)",
    "kl": "KL, nats a response token",
    "perplexity": "perplexity of the chosen answers",
    "response_length_mean": "response length, tokens",
    "gold": "score by the study's judge",
    "win_rate_decided": "share of decided pairs won against iteration 0",
}
"""Numbers of an evaluation point."""

TRAINING = {
    "reward_mean": "reward of the rollouts (raw score)",
    "kl": "KL of the rollouts, nats a response token",
    "entropy": "entropy, nats a token",
    "clip_fraction": "share of clipped tokens",
    "grad_norm": "gradient norm",
    "response_length_mean": "response length of the rollouts, tokens",
    "learning_rate": "learning rate",
}
"""Numbers of an iteration."""

PLACES = 200
"""Most places of a training curve: a longer run is averaged over windows of iterations."""


def convergence_curves(
    runs: Sequence[Trajectory], win_rates: Mapping[str, Mapping[int, float | None]], reached: Mapping[str, Json]
) -> Json:
    """Curves of each method with seed bands.

    Args:
        runs: The runs.
        win_rates: Share of decided pairs won against iteration 0, by label and iteration.
        reached: Result of `convergence.convergence` by label.

    Returns:
        {evaluation, training: {metric: {method: {iteration, mean, low, high, n}}}, labels, reached}.
    """
    evaluation = {name: _bands(runs, partial(_evaluated, name=name, wins=win_rates)) for name in EVALUATION}
    training = {name: _bands(runs, partial(logged, name=name)) for name in TRAINING}
    first = [
        {"label": run.label, "method": run.method, **{key: reached[run.label][key] for key in ("iteration", "reason")}}
        for run in runs
    ]
    return {
        "evaluation": {name: found for name, found in evaluation.items() if found},
        "training": {name: found for name, found in training.items() if found},
        "labels": {"evaluation": EVALUATION, "training": TRAINING},
        "reached": first,
    }


def band(series: Sequence[Series]) -> Json:
    """Mean, lowest and highest of several runs at each place where at least one has a value.

    Args:
        series: Values by iteration, one mapping a run.

    Returns:
        {iteration, mean, low, high, n}, lists of equal length.
    """
    places = sorted({place for one in series for place in one})
    values = [[one[place] for one in series if place in one] for place in places]
    return {
        "iteration": places,
        "mean": [float(np.mean(row)) for row in values],
        "low": [min(row) for row in values],
        "high": [max(row) for row in values],
        "n": [len(row) for row in values],
    }


def logged(run: Trajectory, name: str) -> dict[int, float]:
    """A number of the training log by iteration, averaged over windows of equal length where there are too many."""
    rows = [(row["iteration"], row[name]) for row in run.log if row.get(name) is not None]
    width = -(-len(rows) // PLACES)
    windows = [rows[i : i + width] for i in range(0, len(rows), width)] if rows else []
    return {window[-1][0]: float(np.mean([value for _, value in window])) for window in windows}


def _evaluated(run: Trajectory, name: str, wins: Mapping[str, Mapping[int, float | None]]) -> dict[int, float]:
    found: dict[int, float | None] = {}
    for point in run.checkpoints:
        if name == "gold":
            found[point.iteration] = point.gold_mean
        elif name == "win_rate_decided":
            found[point.iteration] = wins.get(run.label, {}).get(point.iteration)
        else:
            found[point.iteration] = point.facts.get(name)
    return {iteration: value for iteration, value in found.items() if value is not None}


def _bands(runs: Sequence[Trajectory], of: Callable[[Trajectory], Series]) -> dict[str, Json]:
    found = {method: [of(run) for run in members] for method, members in methods_of(runs).items()}
    return {method: band(series) for method, series in found.items() if any(series)}
