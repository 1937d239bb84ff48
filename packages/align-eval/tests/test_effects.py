import pytest

from align_eval.effects import METRICS, band, compared, effects, small_numbers


def runs(values):
    return [dict.fromkeys(METRICS, value) for value in values]


def test_primary_and_all_metrics():
    # d by hand: means 2 and 3, sd 1 each.
    found = effects({"ppo": runs([1.0, 2.0, 3.0]), "grpo": runs([2.0, 3.0, 4.0])})
    assert (found["first"], found["second"], found["metric"]) == ("ppo", "grpo", "win_rate")
    assert found["cohens_d"] == pytest.approx(-1.0)
    assert found["interval"] == found["cohens_d_interval"]
    assert set(found["metrics"]) == set(METRICS)


def test_missing_numbers_leave_seeds_out():
    some = [*runs([1.0, 2.0]), dict.fromkeys(METRICS)]
    assert "two seeds" in effects({"ppo": some[1:], "grpo": runs([1.0, 2.0])})["reason"]


def test_which_methods_are_compared():
    assert compared(["ppo", "grpo", "null"]) == ["ppo", "grpo"]
    assert effects({"ppo": runs([1.0, 2.0])})["cohens_d"] is None


@pytest.mark.parametrize(("d", "name"), [(0.1, "negligible"), (-0.3, "small"), (0.5, "medium"), (-0.8, "large")])
def test_bands_of_cohen(d, name):
    assert band(d)[0] == name
    assert "not detectable" in band(0.0)[1]  # the seed's table says "detectable" here
    assert band(None) is None


def test_small_numbers_says_what_the_study_says():
    found = small_numbers(3, 3)
    assert "38 %" in found["text"]
    assert "12 %" in found["text"]
    assert "3.1" in found["text"]
    assert small_numbers(1, 3)["detectable_d"] is None
