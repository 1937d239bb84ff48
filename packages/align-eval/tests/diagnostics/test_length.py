from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from align_eval.alarms import diagnosed
from align_eval.diagnostics.length import BINS, bin_of, correlation, length


def run(label, lengths, outcomes):
    answers = [{"prompt_id": str(i), "length": n} for i, n in enumerate(lengths)]
    verdicts = [{"prompt_id": str(i), "outcome": outcome} for i, outcome in enumerate(outcomes)]
    return SimpleNamespace(label=label, method=label.split("-")[0], answers=answers, verdicts=verdicts)


def study(*runs, base=10, aa=()):
    count = len(runs[0].answers)
    methods = tuple(dict.fromkeys(one.method for one in runs))
    return SimpleNamespace(
        runs=runs, aa=aa, methods=methods, of=lambda m: [one for one in runs if one.method == m],
        baseline_answers=[{"prompt_id": str(i), "length": base} for i in range(count)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "place"), [(0.5, 0), (0.51, 1), (0.8, 1), (0.81, 2), (1.0, 2), (1.24, 2), (1.25, 3), (1.99, 3), (2.0, 4)]
)
def test_bins(ratio, place):
    assert bin_of(ratio) == place


def test_outcomes_by_length_by_hand():
    one = run("ppo-1", [5, 8, 10, 10, 20, 20], ["loss", "loss", "tie", "win", "win", "win"])
    found = length(study(one))
    bins = {row["bin"]: (row["n"], row["wins"], row["losses"], row["ties"]) for row in found["methods"]["ppo"]["bins"]}
    assert bins == {BINS[0]: (1, 0, 1, 0), BINS[1]: (1, 0, 1, 0), BINS[2]: (2, 1, 0, 1), BINS[4]: (2, 2, 0, 0)}
    (row,) = found["runs"]
    assert row["length_ratio"] == pytest.approx(73 / 60)
    # log ratios and 1, ½, 0 for win, tie, loss
    x = np.log([0.5, 0.8, 1, 1, 2, 2])
    assert row["correlation"]["value"] == pytest.approx(stats.pearsonr(x, [0, 0, 0.5, 1, 1, 1]).statistic)
    assert found["aa"] == []


def test_the_interval_is_fishers():
    rng = np.random.default_rng(3)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    theirs = stats.pearsonr(x, y)
    found = correlation(x, y)
    assert found["value"] == pytest.approx(theirs.statistic)
    assert found["interval"] == pytest.approx(list(theirs.confidence_interval(0.95)), abs=1e-6)
    assert correlation([1.0] * 9, y[:9]) == {"value": None, "interval": None, "n": 9}
    assert correlation([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])["value"] is None


def test_a_judge_that_prefers_longer_answers_is_exposed():
    """The longer answer always wins: the correlation alarms, and so it does in the A/A row."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 20, 200)
    outcomes = ["win" if n > 10 else "loss" if n < 10 else "tie" for n in lengths]
    found = length(study(run("ppo-1", lengths, outcomes), aa=[run("sft-1", lengths, outcomes)]))
    assert found["runs"][0]["correlation"]["interval"][0] > 0.7
    assert found["runs"][0]["longer_wins"]["value"] == 1.0
    assert found["aa"][0]["correlation"]["value"] > 0.7
    (warning,) = diagnosed({"overoptimization": {"best_observed": []}, "length": found})
    assert (warning["code"], warning["runs"]) == ("length_driven", ["ppo-1"])
    assert "the longer an answer" in warning["text"]


def test_outcomes_that_do_not_follow_length_raise_no_alarm():
    rng = np.random.default_rng(0)
    lengths, outcomes = rng.integers(5, 20, 200), rng.choice(["win", "loss"], 200)
    found = length(study(run("ppo-1", lengths, outcomes)))
    assert diagnosed({"overoptimization": {"best_observed": []}, "length": found}) == []


def test_twice_as_long_at_equal_win_rate():
    even = ["win", "loss"] * 50
    found = length(study(run("ppo-1", [20] * 100, even), run("ppo-2", [19] * 100, even)))
    assert [row["twice_as_long_at_equal_win_rate"] for row in found["runs"]] == [True, False]
    better = length(study(run("ppo-1", [20] * 100, ["win"] * 90 + ["loss"] * 10)))
    assert better["runs"][0]["twice_as_long_at_equal_win_rate"] is False
    assert better["methods"]["ppo"]["twice_as_long"] is True
