"""Win rates of a study's runs at equal lengths: the judge and the baseline are one, so all runs are fitted together."""

from __future__ import annotations

from typing import Any

from align_eval.preferences import answer_lengths, control_lengths, prior_of
from align_eval.preferences import preferences as collect
from align_eval.study import Study

Json = dict[str, Any]

Z = 1.959964
"""Normal quantile of 95 %."""


def equal_lengths(study: Study) -> dict[str, Json]:
    """Preference of each run, as it is and at equal lengths.

    Args:
        study: The runs.

    Returns:
        By label: `preference_mean` (win 1, tie ½, loss 0, over valid pairs), `length_controlled_win_rate`, the same
        predicted for equally long answers, its 95 % interval, `length_coefficient` in logits, and `longer_rate`, the
        share of pairs in which the run's answer is the longer one. All rates are shares; null without a valid pair, or
        where lengths always differ alike.
    """
    pairs = [collect(run.verdicts, answer_lengths(run.answers, study.baseline_answers)) for run in study.runs]
    found = control_lengths(pairs, prior_of(study.runs[0].judgments))
    numbers: dict[str, Json] = {}
    for run, one, controlled in zip(study.runs, pairs, found, strict=True):
        rate, error = controlled.win_rate, controlled.standard_error
        numbers[run.label] = {
            "preference_mean": sum(one.values) / len(one.values) if one.values else None,
            "length_controlled_win_rate": rate,
            "length_controlled_interval": _interval(rate, error),
            "length_coefficient": controlled.coefficient,
            "longer_rate": one.longer_rate,
        }
    return numbers


def _interval(rate: float | None, error: float | None) -> list[float] | None:
    if rate is None or error is None:
        return None
    return [max(0.0, rate - Z * error), min(1.0, rate + Z * error)]
