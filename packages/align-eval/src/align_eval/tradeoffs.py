"""The study's table of expected trade-offs, filled with what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from align_eval.algorithms.effect import effect

Json = dict[str, Any]
ALPHA = 0.05
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Expectation:
    """One row of the study's table.

    Attributes:
        metric: Its name.
        ppo: What is expected of PPO.
        grpo: What is expected of GRPO.
        advantage: Who is expected ahead: ppo, grpo, equal or open.
        measure: The number of a run that stands for it, or None.
        unit: How to show it: text that goes behind the number.
        scale: Factor from the number to the shown one.
        higher_is_better: Direction.
        spread: Compare the spread between seeds instead of the mean.
        note: What the reader should know.
        volatile: Whether it depends on the clock.
        primary: Whether it is the primary number, whose own test decides.
    """

    metric: str
    ppo: str
    grpo: str
    advantage: str
    measure: Callable[[Json], float | None] | None
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = False
    spread: bool = False
    note: str = ""
    volatile: bool = False
    primary: bool = False


def _field(name: str) -> Callable[[Json], float | None]:
    return lambda run: run[name]


TABLE: tuple[Expectation, ...] = (
    Expectation(
        "Variance across runs", "low: the critic steadies", "medium to high: sampled groups", "ppo",
        _field("win_rate"), "sd of win rate, points", 100.0, spread=True, note="F-test of the two variances",
    ),
    Expectation(
        "Training stability: reward", "high: GAE, value clip", "medium: hangs on group size", "ppo",
        lambda run: run["stability"]["reward_mean_sd"], "sd over iterations",
        note="a rising reward counts as spread too",
    ),
    Expectation(
        "Training stability: KL", "high: GAE, value clip", "medium: hangs on group size", "ppo",
        lambda run: run["stability"]["kl_sd"], "sd over iterations, 10⁻³ nats", 1000.0,
    ),
    Expectation(
        "Controller actions", "few", "few", "open", _field("controller_actions"), "a run",
        note="iterations in which the KL controller acted",
    ),
    Expectation(
        "Peak memory", "about 4–5 GB: the critic adds", "about 2.5 GB: no critic", "grpo",
        _field("peak_memory_bytes"), "MB", 1e-6, note="the expectation is for Gemma 2B in 4 bits",
        volatile=True,
    ),
    Expectation(
        "Compute per iteration", "high: critic forward and backward", "medium: K samples at once", "grpo",
        _field("seconds_per_iteration"), "s", note="the whole run over its iterations, evaluation included",
        volatile=True,
    ),
    Expectation(
        "Convergence speed", "open", "open", "open", _field("convergence_iteration"), "iterations to 60 %",
        note="only runs that reached 60 % are averaged",
    ),
    Expectation(
        "Final win rate", "open", "open", "open", _field("win_rate"), "% of pairs", 100.0, higher_is_better=True,
        note="p of the primary interval: for other seeds and other prompts", primary=True,
    ),
    Expectation(
        "Hyperparameter sensitivity", "high: clip, value_coef, λ", "medium: K, kl_coef", "grpo", None,
        note="needs a sweep",
    ),
    Expectation(
        "Implementation complexity: size", "high: critic and GAE", "medium: group sampling", "grpo",
        _field("trainable_parameters"), "M trainable parameters", 1e-6, note="adapter, and for PPO the critic",
    ),
    Expectation(
        "Implementation complexity: code", "high: critic and GAE", "medium: group sampling", "grpo",
        _field("lines_of_code"), "lines of the method's own code",
    ),
    Expectation(
        "Sample efficiency", "equal: ppo_epochs = 1", "equal: rollouts used once", "equal",
        _field("reward_at_equal_samples"), "validation reward at equal answers drawn", higher_is_better=True,
        note="where all runs had drawn as many answers as the one that drew fewest: GRPO draws K to each prompt",
    ),
)  # fmt: skip
"""Rows of the study's table, in its order. The seed's two tables agree; this is the longer one."""


def trade_offs(ppo: Sequence[Json], grpo: Sequence[Json], primary_p: float | None = None) -> list[Json]:
    """Fill the table.

    Args:
        ppo: Numbers of the PPO runs.
        grpo: Numbers of the GRPO runs.
        primary_p: p-value of the primary difference, if there is one.

    Returns:
        One dict a row: metric, expected_ppo, expected_grpo, expected_advantage, measured_ppo, measured_grpo (means
        over seeds, or their spread), sd_ppo, sd_grpo, unit, p, verdict (ppo, grpo, "not separated", "equal" or
        "not measured"), agrees (yes, no, or open), note, higher_is_better, volatile.
    """
    return [_row(expectation, ppo, grpo, primary_p) for expectation in TABLE]


def _row(expected: Expectation, ppo: Sequence[Json], grpo: Sequence[Json], primary_p: float | None) -> Json:
    values = [_values(expected, runs) for runs in (ppo, grpo)]
    shown: list[float | None] = [None, None]
    sds: list[float | None] = [None, None]
    verdict, p = NOT_MEASURED, None
    if expected.spread:
        shown = [float(np.std(v, ddof=1)) if len(v) > 1 else None for v in values]
        if None not in shown:
            verdict, p = _spread_verdict(values[0], values[1])
    else:
        shown = [float(np.mean(v)) if v else None for v in values]
        sds = [float(np.std(v, ddof=1)) if len(v) > 1 else None for v in values]
        if None not in shown:
            verdict, p = _mean_verdict(
                values[0], values[1], expected.higher_is_better, primary_p if expected.primary else None
            )
    return {
        "metric": expected.metric,
        "expected_ppo": expected.ppo,
        "expected_grpo": expected.grpo,
        "expected_advantage": expected.advantage,
        "measured_ppo": shown[0],
        "measured_grpo": shown[1],
        "sd_ppo": sds[0],
        "sd_grpo": sds[1],
        "unit": expected.unit,
        "p": p,
        "verdict": verdict,
        "agrees": _agrees(expected.advantage, verdict),
        "note": expected.note,
        "higher_is_better": expected.higher_is_better,
        "volatile": expected.volatile,
    }


def _values(expected: Expectation, runs: Sequence[Json]) -> list[float]:
    if expected.measure is None:
        return []
    found = [expected.measure(run) for run in runs]
    return [value * expected.scale for value in found if value is not None]


def _mean_verdict(
    ppo: list[float], grpo: list[float], higher_is_better: bool, p: float | None
) -> tuple[str, float | None]:
    """Who is ahead by a given p or else by Welch's t-test; without any spread, by the plain difference."""
    if ppo == grpo or (not np.ptp(ppo) and not np.ptp(grpo) and ppo[0] == grpo[0]):
        return "equal", None
    result = effect(ppo, grpo)
    ahead = "ppo" if ((result.difference or 0.0) > 0.0) == higher_is_better else "grpo"
    p = result.welch_p if p is None else p
    if p is None:
        return (ahead if len(ppo) > 1 and len(grpo) > 1 else "not separated"), None
    return (ahead if p < ALPHA else "not separated"), p


def _spread_verdict(ppo: list[float], grpo: list[float]) -> tuple[str, float | None]:
    """Who has the smaller variance, by the two-sided F-test."""
    one, two = float(np.var(ppo, ddof=1)), float(np.var(grpo, ddof=1))
    if one == 0.0 or two == 0.0:
        return "not separated", None
    tail = float(stats.f.sf(one / two, len(ppo) - 1, len(grpo) - 1))
    p = 2.0 * min(tail, 1.0 - tail)
    return ("ppo" if one < two else "grpo") if p < ALPHA else "not separated", p


def _agrees(advantage: str, verdict: str) -> str:
    if advantage == "open" or verdict in (NOT_MEASURED, "not separated"):
        return "open"
    return "yes" if advantage == verdict else "no"


def table_for(runs: Mapping[str, Sequence[Json]], difference: Json | None = None) -> list[Json]:
    """The table of a study, with what it lacks left unmeasured.

    Args:
        runs: Numbers of the runs by method.
        difference: The primary difference between them, if there is one.
    """
    return trade_offs(runs.get("ppo", ()), runs.get("grpo", ()), difference["p"] if difference else None)
