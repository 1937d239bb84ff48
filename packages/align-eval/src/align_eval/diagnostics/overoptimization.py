"""Proxy reward beside gold score over √KL: where the judge stops following the reward model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from align_eval.algorithms.mean import mean_interval
from align_eval.algorithms.overoptimization import Form, fit, jackknife_beta
from align_eval.trajectory import Checkpoint, Trajectory, methods_of

Json = dict[str, Any]
Curve = tuple[list[float], list[float]]

FORMS: dict[Form, str] = {"bon": "d(α − β d)", "rl": "d(α − β log d)"}
FAR = 10.0
"""A fitted peak farther away than so many times the farthest checkpoint is none: the curve is nearly straight."""
STEPS = 40
"""Places at which a fitted curve is given for drawing."""


def overoptimization(runs: Sequence[Trajectory]) -> Json:
    """Compare what the reward model says with what the judge says along each run.

    Args:
        runs: The runs; their kept answers are scored by the judge where that is offline.

    Returns:
        {gold, reason, forms, points, fits, best_observed}; `reason` says why there is no gold score.
    """
    methods = methods_of(runs)
    groups = {**methods, **({"all": list(runs)} if len(methods) > 1 else {})}
    fits = [
        found
        for method, members in groups.items()
        for of in ("proxy", "gold")
        for form in FORMS
        if (found := described_fit(method, of, form, [_curve(run, of) for run in members])) is not None
    ]
    gold = runs[0].gold if runs else None
    return {
        "gold": gold.name if gold else None,
        "reason": gold.reason if gold else "no runs",
        "forms": FORMS,
        "points": [row for run in runs for row in _points(run)],
        "fits": fits,
        "best_observed": [row for run in runs if (row := best_observed(run)) is not None],
    }


def best_observed(run: Trajectory) -> Json | None:
    """The checkpoint with the best gold score, and what training past it changed.

    The best of several noisy numbers looks better than it is, so the checkpoint is chosen on every other prompt and
    the change up to the last checkpoint is measured on the rest.

    Args:
        run: A run with gold scores.

    Returns:
        {label, method, iteration, root_kl, gold, last_gold, gold_change_after, gold_change_interval,
        proxy_change_after, over_optimised}; None without gold scores or with fewer than four prompts.
    """
    scored = [point for point in run.trained if point.gold]
    prompts = sorted(set.intersection(*(set(point.gold) for point in scored))) if scored else []
    if len(prompts) < 4:
        return None
    choosing, measuring = prompts[::2], prompts[1::2]
    best = max(scored, key=lambda point: sum(point.gold[key] for key in choosing))
    last = scored[-1]
    change = mean_interval([last.gold[key] - best.gold[key] for key in measuring])
    interval = list(change.interval) if change.interval and best is not last else None
    both = [key for key in measuring if key in best.rewards and key in last.rewards]
    proxy = float(np.mean([last.rewards[key] - best.rewards[key] for key in both])) if both else None
    return {
        "label": run.label,
        "method": run.method,
        "iteration": best.iteration,
        "root_kl": _distance(best),
        "gold": best.gold_mean,
        "last_gold": last.gold_mean,
        "gold_change_after": change.value,
        "gold_change_interval": interval,
        "proxy_change_after": proxy,
        "over_optimised": bool(interval and interval[1] < 0 and proxy is not None and proxy >= 0),
    }


def _distance(point: Checkpoint) -> float:
    return math.sqrt(max(0.0, point.facts["kl"]))


def _points(run: Trajectory) -> list[Json]:
    return [
        {
            "label": run.label,
            "method": run.method,
            "iteration": point.iteration,
            "root_kl": _distance(point),
            "proxy_gain": _gain(run, point, "proxy"),
            "gold_gain": _gain(run, point, "gold"),
        }
        for point in run.trained
    ]


def _curve(run: Trajectory, of: str) -> Curve:
    """(√KL, gain over iteration 0) of each trained checkpoint that has the number."""
    known = [(_distance(point), gain) for point in run.trained if (gain := _gain(run, point, of)) is not None]
    return [distance for distance, _ in known], [gain for _, gain in known]


def _gain(run: Trajectory, point: Checkpoint, of: str) -> float | None:
    first, value = (_value(one, of) if one else None for one in (run.start, point))
    return None if first is None or value is None else value - first


def _value(point: Checkpoint, of: str) -> float | None:
    return point.gold_mean if of == "gold" else point.facts["reward_mean"]


def described_fit(method: str, of: str, form: Form, curves: Sequence[Curve]) -> Json | None:
    """Fit one curve to all runs of a method and say what it is worth.

    Args:
        method: The method, or ``all``.
        of: What is fitted: ``proxy`` or ``gold``.
        form: Which curve.
        curves: (√KL, gain over the reference) of each run.

    Returns:
        A row of `fits`; None where there are too few points.
    """
    distances, gains = ([x for curve in curves for x in curve[axis]] for axis in (0, 1))
    found = fit(distances, gains, form)
    if found is None:
        return None
    farthest = max(distances)
    interval = jackknife_beta(curves, form)
    bends = interval is not None and interval[0] > 0.0
    peak = found.peak if found.peak and found.peak[0] <= FAR * farthest else None
    reached = peak is not None and peak[0] <= farthest
    places = [farthest * i / STEPS for i in range(STEPS + 1)]
    return {
        "method": method,
        "of": of,
        "form": form,
        "n": found.n,
        "runs": len(curves),
        "alpha": found.alpha,
        "beta": found.beta,
        "beta_interval": list(interval) if interval else None,
        "rmse": found.rmse,
        "peak": {"root_kl": peak[0], "kl": peak[0] ** 2, "gain": peak[1], "reached": reached} if peak else None,
        "curvature_shown": bends,
        "caution": _caution(peak, reached, bends, farthest),
        "curve": [[d, found.gain(d)] for d in places],
    }


def _caution(peak: tuple[float, float] | None, reached: bool, bends: bool, farthest: float) -> str | None:
    """What a reader must not take from the fit; None where the peak lies among the points and the bend is shown."""
    if peak is None:
        return "The curve has no peak near the distances that were tried: nothing here shows a knee."
    if not reached:
        return f"The peak lies beyond the farthest checkpoint (√KL {farthest:.3g}): an extrapolation, not a finding."
    if not bends:
        return "The bend cannot be told from none with so few runs: the place of the peak is uncertain."
    return None
