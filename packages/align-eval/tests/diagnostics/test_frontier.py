import pytest
from made_runs import checkpoint, trajectory

from align_eval.diagnostics.frontier import RULES, choose, frontier

POINTS = [
    checkpoint(10, kl=0.010, reward_mean=1.0, perplexity=3.0),
    checkpoint(20, kl=0.030, reward_mean=2.0, perplexity=3.2, selected=True),
    checkpoint(30, kl=0.004, reward_mean=0.5, perplexity=3.1),
    checkpoint(40, kl=0.090, reward_mean=4.0, perplexity=2.0),  # above the target of 0.05: no rule but "last" takes it
]


@pytest.mark.parametrize(("rule", "iteration"), [("perplexity", 10), ("reward", 20), ("last", 40), ("lowest_kl", 30)])
def test_each_rule_chooses(rule, iteration):
    assert choose(rule, POINTS).iteration == iteration


def test_when_none_passes_the_gate_the_lowest_kl_is_kept():
    far = [checkpoint(10, kl=0.09, reward_mean=9.0, perplexity=1.0), checkpoint(20, kl=0.06, reward_mean=0.0)]
    assert {choose(rule, far).iteration for rule in RULES} == {20}
    assert choose("reward", []) is None


def test_every_checkpoint_and_every_choice():
    found = frontier([trajectory("ppo-1", checkpoint(0, kl=-1e-9), *POINTS)], {"ppo-1": {20: 0.7}})
    (run,) = found["runs"]
    assert [point["iteration"] for point in run["points"]] == [0, 10, 20, 30, 40]
    assert run["points"][0]["root_kl"] == 0.0  # rounding below zero is no distance
    assert run["points"][2]["root_kl"] == pytest.approx(0.173205, abs=1e-6)
    assert [point["passes_gate"] for point in run["points"]] == [True, True, True, True, False]
    assert (run["rule"], run["published"]) == ("reward", 20)
    assert {row["rule"]: (row["iteration"], row["gate_passed"]) for row in run["choices"]} == {
        "perplexity": (10, True), "reward": (20, True), "last": (40, False), "lowest_kl": (30, True),
    }  # fmt: skip
    assert run["choices"][1]["win_rate_decided"] == 0.7
    assert set(found["rules"]) == set(RULES)


def test_a_run_without_points():
    (run,) = frontier([trajectory("ppo-1", checkpoint(0))], {})["runs"]
    assert (run["choices"], run["published"]) == ([], None)
