import pytest

from align_eval.alarms import alarms

RUN = {
    "label": "ppo-1", "n": 60, "method": "ppo", "control": "none", "tie_rate": 0.1, "wilson": [0.55, 0.7],
    "length_ratio": 1.1,
    "reward_gain_interval": [0.1, 0.2], "response_length_mean": 10.0, "gate_passed": True,
    "first_place_p": 0.4, "longer_rate": 0.6,
}  # fmt: skip
NO_INTERVAL = {"first": "ppo", "second": "grpo", "interval": None}
POOLED = {"by_prompt": [0.45, 0.55]}
FAIR = {"interval": [0.45, 0.6]}
"""An A/A row whose interval holds 50 %."""


def codes(*runs, difference=NO_INTERVAL, aa=FAIR, pooled=POOLED):
    return [one["code"] for one in alarms(runs, difference, aa, pooled)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"tie_rate": 0.30}, []),
        ({"tie_rate": 0.301}, ["ties"]),
        ({"first_place_p": 0.049}, ["position"]),
        ({"first_place_p": 0.05}, []),
        ({"first_place_p": 1.0, "longer_rate": None}, []),
        ({"longer_rate": 0.04}, ["length_one_sided"]),
        ({"longer_rate": 0.951}, ["length_one_sided"]),
        ({"longer_rate": 1.0, "n": 19}, []),  # fewer than 20 pairs cannot show a share below 1 of 20
        ({"wilson": [0.49, 0.6]}, ["reward_inflation"]),
        ({"wilson": None}, ["reward_inflation"]),
        ({"wilson": [0.3, 0.4], "reward_gain_interval": [-0.1, 0.2]}, []),
        ({"wilson": [0.49, 0.6], "reward_gain_interval": None}, []),
        ({"length_ratio": 2.5}, []),  # longer, but better too
        ({"length_ratio": 2.0, "wilson": [0.49, 0.6], "reward_gain_interval": None}, ["verbosity"]),
        ({"gate_passed": False}, ["kl_gate"]),
        ({"control": "null"}, ["null_control"]),
    ],
)
def test_each_alarm(change, expected):
    assert codes({**RUN, **change}) == expected


def test_many_runs_raise_no_more_false_alarms_than_one():
    """Of six runs the smallest p has to be below 0.05 / 6 (Bonferroni): eight flips alike, 2/2⁸ = 0.0078, not seven."""
    others = [{**RUN, "label": f"ppo-{i}"} for i in range(2, 7)]
    for flips, expected in ((7, []), (8, ["position"])):
        assert codes({**RUN, "first_place_p": 2 * 0.5**flips}, *others) == expected


def test_a_method_twice_as_long_at_equal_win_rate():
    long = {**RUN, "label": "grpo-1", "method": "grpo", "response_length_mean": 20.0}
    equal, apart = {**NO_INTERVAL, "interval": [-1, 1]}, {**NO_INTERVAL, "interval": [0.1, 1]}
    assert codes(RUN, long, difference=equal) == ["verbosity_between_methods"]
    assert codes(RUN, long, difference=apart) == []
    assert codes(RUN, long, difference=None) == []
    assert codes(RUN, {**long, "response_length_mean": 19.0}, difference=equal) == []


def test_the_judges_own_null():
    assert codes(RUN, aa={"interval": [0.51, 0.6]}) == ["judge_bias"]
    assert codes(RUN, aa=None) == ["no_aa"]
    assert codes(RUN, aa={"interval": None}) == []
    (warning,) = alarms([{**RUN, "control": "null"}], NO_INTERVAL, FAIR, {"by_prompt": [0.55, 0.6]})
    assert "does not contain 50 %" in warning["text"]
