import pytest
from made_runs import checkpoint, trajectory

from align_eval.budgets import budgets, difference, interpolate, over_seeds


def log(iterations, answers, seconds=1.0, evaluation=None):
    rows = []
    for i in range(1, iterations + 1):
        phases = {"eval": evaluation} if evaluation and i % 10 == 0 else {}
        row = {"iteration": i, "responses": 4 * answers, "response_tokens": 40 * answers, "phases": phases}
        rows.append(row | {"seconds": seconds + phases.get("eval", 0.0)})
    return rows


def run(label, rewards, answers, **how):
    points = [checkpoint(10 * i, reward_mean=r, kl=0.01 * i) for i, r in enumerate(rewards)]
    return trajectory(label, *points, log=log(10 * (len(rewards) - 1), answers, **how))


PPO = run("ppo-1", [0.0, 1.0, 2.0, 2.5, 2.8], answers=1, evaluation=5.0)
GRPO = run("grpo-1", [0.0, 2.0, 3.0, 3.2, 3.3], answers=5, seconds=2.0)
WINS = {"ppo-1": {10: 0.5, 40: 0.7}, "grpo-1": {10: 0.6, 40: 0.8}}


def test_equal_samples_cut_the_method_that_draws_more():
    """PPO draws 4 an iteration, 160 in all; GRPO 20, so its 160 are spent at iteration 8 of 40."""
    found = budgets([PPO, GRPO], WINS)["samples"]
    assert (found["budget"], found["set_by"], found["unit"]) == (160, ["ppo-1"], "responses drawn")
    ppo, grpo = found["runs"]
    assert (ppo["iteration"], ppo["at"]["reward_mean"], ppo["interpolated"]["reward_mean"]) == (40, 2.8, 2.8)
    assert ppo["at"]["win_rate_decided"] == 0.7
    # Its last point within the budget is the start; a line from 0 at 0 to 2.0 at 200 gives 1.6 at 160.
    assert (grpo["iteration"], grpo["at"]["reward_mean"]) == (0, 0.0)
    assert grpo["interpolated"]["reward_mean"] == pytest.approx(1.6)
    assert grpo["interpolated"]["iteration"] == pytest.approx(8)
    assert grpo["spent"] == 800
    assert found["early"] == ["grpo-1"]
    assert grpo["interpolated"]["win_rate_decided"] is None  # nothing is known before iteration 10
    assert found["difference"]["reward_mean"]["value"] == pytest.approx(2.8 - 1.6)


def test_equal_iterations_tokens_and_seconds():
    found = budgets([PPO, GRPO], WINS)
    assert (found["iterations"]["budget"], found["iterations"]["early"]) == (40, [])
    assert found["tokens"]["budget"] == 1600
    # PPO's 20 seconds of evaluation are no training: 40 s against GRPO's 80, reached by it at iteration 20.
    assert found["equal_seconds"]["budget"] == pytest.approx(40.0)
    assert found["equal_seconds"]["runs"][1]["iteration"] == 20
    assert found["equal_seconds"]["runs"][1]["at"]["reward_mean"] == 3.0


def test_a_log_that_does_not_tell_is_named():
    bare = trajectory(
        "grpo-2", checkpoint(0), checkpoint(10), log=[{"iteration": i, "seconds": 1.0} for i in range(11)]
    )
    found = budgets([PPO, bare], {})
    assert found["samples"]["reason"] == "the log of grpo-2 does not tell"
    assert found["samples"]["budget"] is None
    assert found["equal_seconds"]["budget"] == pytest.approx(11.0)


def test_one_method_has_no_difference():
    found = budgets([PPO], WINS)["iterations"]
    assert found["difference"] is None
    assert found["methods"]["ppo"]["reward_mean"] == {"value": 2.8, "sd": None, "n": 1, "interval": None}


def test_interpolation_by_hand():
    assert interpolate(1.5, [1, 2, 3], [10.0, 20.0, 0.0]) == 15.0
    assert interpolate(2, [1, 2, 3], [10.0, None, 30.0]) == 20.0
    assert interpolate(0.5, [1, 2], [1.0, 2.0]) is None
    assert interpolate(2.5, [1, 2], [1.0, 2.0]) is None
    assert interpolate(1, [1, 2], [None, None]) is None


def test_means_and_differences_over_seeds():
    """1, 2, 3: mean 2, sd 1, half width t(0.975, 2)/√3 = 4.3027/1.7321."""
    found = over_seeds([1.0, None, 2.0, 3.0])
    assert (found["value"], found["sd"], found["n"]) == (2.0, 1.0, 3)
    assert found["interval"] == pytest.approx([2 - 2.48414, 2 + 2.48414], abs=1e-5)
    assert over_seeds([None]) == {"value": None, "sd": None, "n": 0, "interval": None}
    # Welch of (1, 2, 3) and (2, 3, 4): t = −1/√(2/3) on 4 degrees of freedom, p = 0.28786
    assert difference([1, 2, 3], [2, 3, 4])["p"] == pytest.approx(0.28786, abs=1e-5)
    assert difference([1], [2, 3]) == {"value": -1.5, "interval": None, "p": None}
