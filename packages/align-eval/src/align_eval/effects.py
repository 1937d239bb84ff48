"""PPO against GRPO over the seeds: effect sizes, and what so few seeds can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from align_eval.algorithms.effect import Effect, effect
from align_eval.algorithms.power import chance_of_large_d, detectable_d, power

Json = dict[str, Any]

PRIMARY = "win_rate"
"""The number whose effect size the study calls primary."""

METRICS = ("win_rate", "win_rate_decided", "reward_mean", "reward_gain", "kl", "perplexity", "response_length_mean")

BANDS = (
    (0.2, "negligible", "not detectable: a small |d| here does not show that the methods are equal"),
    (0.5, "small", "not reliable with this number of seeds"),
    (0.8, "medium", "not reliable with this number of seeds"),
    (float("inf"), "large", "often seen without any true difference; look at the interval"),
)
"""Upper bound of |d|, Cohen's name for it, and what few seeds make of it."""


def effects(runs: Mapping[str, Sequence[Json]]) -> Json:
    """Effect sizes of the first method minus the second.

    Args:
        runs: Numbers of the runs by method; with one method nothing is computed.

    Returns:
        cohens_d, hedges_g, welch_p and interval (of d) for the primary number, the rest beside them, and
        the same for other numbers under `metrics`. What does not exist is null, `reason` says why.
    """
    methods = compared(list(runs))
    if len(methods) != 2:
        nothing = effect([], [])
        reason = f"needs two methods, got {' and '.join(methods)}"
        return {"metric": PRIMARY, "first": None, "second": None, **_flat(nothing), "reason": reason, "metrics": {}}
    first, second = methods
    found = {name: _flat(effect(_values(runs[first], name), _values(runs[second], name))) for name in METRICS}
    return {"metric": PRIMARY, "first": first, "second": second, **found[PRIMARY], "metrics": found}


def compared(methods: Sequence[str]) -> list[str]:
    """The two methods of a comparison: PPO and GRPO where both are there, else whatever there is."""
    return [m for m in methods if m in ("ppo", "grpo")] if {"ppo", "grpo"} <= set(methods) else list(methods)


def band(d: float | None) -> tuple[str, str] | None:
    """Cohen's name for a |d|, and what it is worth with few seeds."""
    if d is None:
        return None
    return next((name, worth) for bound, name, worth in BANDS if abs(d) < bound)


def small_numbers(n1: int, n2: int) -> Json:
    """What a design of n1 + n2 seeds can and cannot show.

    Args:
        n1: Seeds of the first method.
        n2: Seeds of the second method.

    Returns:
        The three figures and `text`, a paragraph for readers; the figures are null below two seeds each.
    """
    if n1 < 2 or n2 < 2:
        text = (
            f"With {n1} + {n2} seeds there is no spread between seeds to measure, so no effect size, test or interval "
            "exists. Train at least three seeds a method, better five to ten."
        )
        return {
            "seeds": [n1, n2],
            "chance_of_large_d": None,
            "power_at_large_d": None,
            "detectable_d": None,
            "text": text,
        }
    chance, found, needed = chance_of_large_d(n1, n2), power(0.8, n1, n2), detectable_d(n1, n2)
    ten = detectable_d(10, 10)
    text = (
        f"With {n1} + {n2} seeds Cohen's d is noisy. If the methods did not differ at all, |d| would still exceed 0.8 "
        f"in {100 * chance:.0f} % of studies like this one. A true d of 0.8 is found by a t-test at the 5 % level in "
        f"{100 * found:.0f} % of them, and it takes a true d of {needed:.1f} to be found in 80 %. A |d| below 0.2 "
        "therefore does not show that the methods are equal, and one above 0.8 does not show that they differ: read "
        "the interval. Five to ten seeds a method make the study worth more: with 10 + 10, a true d of "
        f"{ten:.1f} is found in 80 %."
    )
    return {
        "seeds": [n1, n2],
        "chance_of_large_d": chance,
        "power_at_large_d": found,
        "detectable_d": needed,
        "text": text,
    }


def _values(runs: Sequence[Json], name: str) -> list[float]:
    return [float(run[name]) for run in runs if run[name] is not None]


def _flat(result: Effect) -> Json:
    """The effect as JSON, with the interval of d under its short name too."""
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(result).items()}
    return {**found, "interval": found["cohens_d_interval"]}
