"""The primary numbers: each method's win rate, and the difference of two, each with what its interval allows for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from align_eval.algorithms import bootstrap
from align_eval.algorithms.bootstrap import Draws
from align_eval.algorithms.crossed import Contrast, contrast
from align_eval.algorithms.equivalence import equivalence
from align_eval.algorithms.improvement import improvement_replicates, paired_difference, superiority
from align_eval.effects import PRIMARY, compared
from align_eval.preferences import grade
from align_eval.study import Row, Run, Study

Json = dict[str, Any]
Array = np.ndarray[Any, Any]


def won(row: Row) -> float:
    """1 for a pair that was won, else 0."""
    return float(row["outcome"] == "win")


def preferred(row: Row) -> float:
    """Preference of a pair, ½ where the judge's replies could not be read: nobody is ahead."""
    value = grade(row)
    return 0.5 if value is None else value


SCORES: dict[str, Callable[[Row], float]] = {"win_rate": won, "preference": preferred}
"""What a pair counts: wins among all pairs; and win 1, tie ½, loss 0."""

LEVEL = {"preference": 0.5}
"""What a method's mean is tested against: as good as SFT."""

REPLICATES = 4_000
"""Replicates of the bootstrap."""
KEY = (2021, 42)
"""Key of the bootstrap's generator, the same in every report: equal inputs give equal numbers."""


def estimates(study: Study, margin: float) -> Json:
    """Each method's mean over seeds and prompts, and the difference of the two methods, with all their intervals.

    Args:
        study: The runs.
        margin: Difference of win rates that counts as none.

    Returns:
        `win_rate` and `preference`, each {methods, difference}; `equivalence`, `by_prompt` and `improvement` of the two
        methods; seeds, prompts, categories, seeds_paired, bootstrap. What does not exist is null; `reason` says why.
    """
    seeds = {method: [run.seed for run in study.of(method)] for method in study.methods}
    names = compared(study.methods)
    paired = len(names) == 2 and seeds[names[0]] == seeds[names[1]]
    strata_P = categories(study.runs)
    found: Json = {
        "primary": PRIMARY,
        "reason": why_not(study),
        "seeds": {method: len(those) for method, those in seeds.items()},
        "prompts": len(strata_P),
        "categories": len(set(strata_P)),
        "seeds_paired": paired,
        **dict.fromkeys((*SCORES, "equivalence", "by_prompt", "improvement")),
        "bootstrap": {"replicates": REPLICATES, "key": list(KEY)},
    }
    if found["reason"]:
        return found
    draws = {method: _draws([len(seeds[method])], strata_P) for method in study.methods}
    both = _draws([len(seeds[name]) for name in names], strata_P, paired=paired) if len(names) == 2 else None
    for score in SCORES:
        tables = {method: table(study.of(method), score) for method in study.methods}
        level = LEVEL.get(score)
        found[score] = {
            "methods": {m: _mean([tables[m]], (1.0,), strata_P, draws[m], level) for m in study.methods},
            "difference": None,
        }
        if both is not None:
            difference = _mean([tables[name] for name in names], (1.0, -1.0), strata_P, both, 0.0)
            found[score]["difference"] = {"first": names[0], "second": names[1], **difference}
    if both is not None:
        first_SP, second_SP = (table(study.of(name), "preference") for name in names)
        found["by_prompt"] = _by_prompt(first_SP, second_SP)
        found["improvement"] = _improvement(first_SP, second_SP, both)
        wins = [table(study.of(name), PRIMARY) for name in names]
        gap = contrast(wins, (1.0, -1.0), strata_P)
        found["equivalence"] = _equivalence(gap, margin) if gap.se > 0.0 else None  # without spread nothing is shown
    return found


def why_not(study: Study) -> str | None:
    """Why there are no such numbers; None if there are."""
    asked = [[row["prompt_id"] for row in run.verdicts] for run in study.runs]
    if any(one != asked[0] for one in asked):
        return "the runs do not answer the same prompts in the same order"
    if len(asked[0]) < 2:
        return "it takes two prompts or more"
    few = any(len(study.of(method)) < 2 for method in study.methods)
    return "it takes two seeds or more of each method" if few else None


def table(runs: Sequence[Run], score: str) -> Array:
    """What each run scored on each prompt.

    Args:
        runs: Runs over the same prompts in the same order.
        score: A name of SCORES.

    Returns:
        (S, P), float64 in [0, 1].
    """
    return np.array([[SCORES[score](row) for row in run.verdicts] for run in runs])


def categories(runs: Sequence[Run]) -> list[str]:
    """Category of each prompt of the first run."""
    return [row["category"] for row in runs[0].verdicts]


def _draws(seeds: Sequence[int], strata_P: Sequence[str], *, paired: bool = False) -> Draws:
    return bootstrap.draw(seeds, strata_P, paired=paired, replicates=REPLICATES, key=KEY)


def _mean(
    tables: Sequence[Array], coefficients: Sequence[float], strata_P: Sequence[str], draws: Draws, level: float | None
) -> Json:
    """The primary interval, the one for just these prompts, and the bootstrap's; p against `level`."""
    found = contrast(tables, coefficients, strata_P)
    replicates_B = sum(k * one for k, one in zip(coefficients, bootstrap.means(tables, draws), strict=True))
    low, high = bootstrap.percentiles(np.asarray(replicates_B))
    bounds = (0.0, 1.0) if len(tables) == 1 else (-1.0, 1.0)
    return {
        "value": float(found.value),
        **_student(found, level, bounds),
        "seed_variance": float(found.seed_variance),
        "prompt_variance": float(found.prompt_variance),
        "same_prompts": {**_student(found.on_these_prompts, level, bounds), "df": _number(found.seed_df)},
        "bootstrap": [float(np.clip(end, *bounds)) for end in (low, high)],
    }


def _student(found: Contrast, level: float | None, bounds: tuple[float, float]) -> Json:
    """{se, interval, p}; interval and p are null where nothing varies. An end that no rate can have is cut off."""
    low, high = (float(np.clip(end, *bounds)) for end in found.interval())
    tail = None if level is None else found.tail(level)
    return {
        "se": float(found.se),
        "interval": None if found.se == 0.0 else [low, high],
        "p": None if tail is None else 2.0 * tail,
    }


def _equivalence(found: Contrast, margin: float) -> Json:
    result = equivalence(found, margin)
    return {
        "margin": result.margin,
        "p": result.p,
        "interval_90": list(result.interval),
        "equivalent": result.equivalent,
    }


def _by_prompt(first_SP: Array, second_SP: Array) -> Json:
    result = paired_difference(first_SP, second_SP)
    return {
        "value": result.mean.value,
        "sd": result.mean.sd,
        "interval": list(result.mean.interval) if result.mean.interval else None,
        "better": result.better,
        "equal": result.equal,
        "worse": result.worse,
    }


def _improvement(first_SP: Array, second_SP: Array, draws: Draws) -> Json:
    ahead_SSP = superiority(first_SP, second_SP)
    low, high = bootstrap.percentiles(improvement_replicates(ahead_SSP, draws))
    return {"value": float(ahead_SSP.mean()), "bootstrap": [float(low), float(high)]}


def _number(value: Array) -> float | None:
    return float(value) if np.isfinite(value) else None
