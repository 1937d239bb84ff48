"""What a careful reader should be told: a weak judge, verbosity, reward inflation, few seeds, a biased judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

LENGTH_ALARM = 0.3
"""Correlation between length and outcome above which length alone tells much: Cohen's medium effect."""

TIE_ALARM = 0.30
"""Tie rate above which the judge does not tell the answers apart (the study's)."""
ONE_SIDED = 0.05
"""Where fewer pairs than this have the longer answer on the other side, length and quality are hardly told apart."""
PLACE_ALPHA = 0.05
"""Level of the sign test for a taste for a place; five pairs that lean, all alike, have p = 1/16 and raise no alarm."""
VERBOSE = 2.0
"""Length ratio at which equal win rates point to verbosity (the study's)."""


def alarms(runs: Sequence[Json], difference: Json | None, aa: Json | None, pooled: Json) -> list[Json]:
    """Collect the warnings of a report.

    Args:
        runs: Numbers of the runs.
        difference: The primary difference of win rates between two methods, None where there is none.
        aa: Rates of the A/A row.
        pooled: Rates of all runs together.

    Returns:
        [{code, runs, text}], in the order in which a reader needs them.
    """
    found = [
        _ties(runs),
        _position(runs),
        _inflation(runs),
        _one_sided(runs),
        _verbosity(runs),
        _verbose_method(runs, difference),
        _gate(runs),
    ]
    found += [_biased(aa), _null(runs, pooled)]
    return [one for one in found if one is not None]


def diagnosed(diagnostics: Json) -> list[Json]:
    """The warnings that the diagnostics give.

    Args:
        diagnostics: The section of that name.

    Returns:
        [{code, runs, text}].
    """
    over = [row for row in diagnostics["overoptimization"]["best_observed"] if row["over_optimised"]]
    text = "Over-optimised: after an earlier checkpoint of {runs} the reward kept and the judge's score fell."
    found = [_warning("over_optimised", over, text)]
    lengths = [row for row in diagnostics["length"]["runs"] if _length_tells(row["correlation"])]
    for word, sign in (("longer", 1), ("shorter", -1)):
        rows = [row for row in lengths if row["correlation"]["value"] * sign > 0]
        text = f"Length and wins go together in {{runs}}: the {word} an answer, the more often it wins."
        found.append(_warning("length_driven", rows, text))
    return [one for one in found if one is not None]


def _length_tells(found: Json) -> bool:
    value, interval = found["value"], found["interval"]
    return value is not None and interval is not None and abs(value) >= LENGTH_ALARM and interval[0] * interval[1] > 0


def _warning(code: str, runs: Sequence[Json], text: str) -> Json | None:
    labels = [run["label"] for run in runs]
    return {"code": code, "runs": labels, "text": text.format(runs=", ".join(labels))} if labels else None


def _ties(runs: Sequence[Json]) -> Json | None:
    high = [run for run in runs if run["tie_rate"] > TIE_ALARM]
    text = f"Tie rate above {100 * TIE_ALARM:.0f} % in {{runs}}: the judge hardly tells the answers apart."
    return _warning("ties", high, text)


def off_centre(interval: Sequence[float] | None) -> bool:
    """Whether an interval leaves one half out."""
    return interval is not None and not interval[0] <= 0.5 <= interval[1]


def likes_a_place(order: Mapping[str, Any], judgings: int = 1) -> bool:
    """Whether the exact sign test says that a judge's choices lean to one place: at 5 % over all judgings together."""
    return bool(order["first_place_p"] * judgings < PLACE_ALPHA)


def one_sided(longer_rate: float | None) -> bool:
    """Whether nearly always the same side has the longer answer."""
    return longer_rate is not None and not ONE_SIDED <= longer_rate <= 1 - ONE_SIDED


def _position(runs: Sequence[Json]) -> Json | None:
    leaning = [run for run in runs if likes_a_place(run, len(runs))]
    text = "The judge likes a place in {runs}: what it was shown first matters. Swapping turns that into ties."
    return _warning("position", leaning, text)


def _one_sided(runs: Sequence[Json]) -> Json | None:
    rows = [run for run in runs if run["n"] * ONE_SIDED >= 1 and one_sided(run["longer_rate"])]
    text = "Nearly all pairs of {runs} have the longer answer on the same side: the length-controlled rate is a guess."
    return _warning("length_one_sided", rows, text)


def _undecided(run: Json) -> bool:
    """Whether the win rate is compatible with no difference, or worse."""
    return run["wilson"] is None or run["wilson"][0] <= 0.5


def _inflation(runs: Sequence[Json]) -> Json | None:
    flat = [r for r in runs if r["reward_gain_interval"] and r["reward_gain_interval"][0] > 0 and _undecided(r)]
    text = "Reward inflation in {runs}: the reward model likes the answers better than SFT's, the judge does not."
    return _warning("reward_inflation", flat, text)


def _verbosity(runs: Sequence[Json]) -> Json | None:
    long = [r for r in runs if r["length_ratio"] is not None and r["length_ratio"] >= VERBOSE and _undecided(r)]
    return _warning(
        "verbosity", long, "Verbosity in {runs}: answers at least twice as long as SFT's without more wins."
    )


def _verbose_method(runs: Sequence[Json], difference: Json | None) -> Json | None:
    """One method twice as long as the other while their win rates cannot be told apart."""
    interval = difference and difference["interval"]
    if not difference or not interval or not interval[0] <= 0.0 <= interval[1]:
        return None
    first, second = difference["first"], difference["second"]
    lengths = {}
    for method in (first, second):
        values = [r["response_length_mean"] for r in runs if r["method"] == method]
        lengths[method] = sum(values) / len(values)
    short, long = sorted((first, second), key=lambda m: lengths[m])
    if lengths[short] <= 0 or lengths[long] < VERBOSE * lengths[short]:
        return None
    culprits = [run for run in runs if run["method"] == long]
    ratio = lengths[long] / lengths[short]
    text = f"Verbosity: {long} answers {ratio:.1f} times as long as {short} at no higher win rate."
    return _warning("verbosity_between_methods", culprits, text)


def _gate(runs: Sequence[Json]) -> Json | None:
    failed = [run for run in runs if run["gate_passed"] is False]
    return _warning(
        "kl_gate", failed, "No checkpoint passed the KL gate in {runs}: the one with the lowest KL is published."
    )


def _biased(aa: Json | None) -> Json | None:
    if aa is None:
        text = (
            "No A/A row: nothing shows what the judge makes of two sets of answers of one policy. Answer once more "
            "with the SFT policy (respond --sampling-seed 1), judge that against the baseline, and give it too."
        )
        return {"code": "no_aa", "runs": [], "text": text}
    if not off_centre(aa["interval"]):
        return None
    text = (
        "The interval of the A/A row (SFT against SFT) leaves 50 % out. Luck does that once in twenty; if it stays "
        "with other sampling keys, the judge favours a side."
    )
    return {"code": "judge_bias", "runs": ["A/A"], "text": text}


def _null(runs: Sequence[Json], pooled: Json) -> Json | None:
    controls = [run for run in runs if run["control"] == "null" or run["method"] == "null"]
    if not controls:
        return None
    interval = pooled["by_prompt"]
    holds = interval is None or interval[0] <= 0.5 <= interval[1]
    verdict = "contains 50 %, as it must" if holds else "does not contain 50 %: something favours a side"
    return _warning(
        "null_control", controls, f"Null control in {{runs}}: nothing was learned; the pooled interval {verdict}."
    )
