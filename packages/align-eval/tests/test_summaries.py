import math

import pytest
from scipy import stats

from align_eval.algorithms.swap import Tally
from align_eval.study import Run
from align_eval.summaries import across_seeds, by_category, longer_wins, means, paired_gain, pooled, rates


def run(outcomes, lengths=None, method="ppo"):
    verdicts = [{"prompt_id": str(i), "category": "abc"[i % 3], "outcome": o} for i, o in enumerate(outcomes)]
    answers = [{"prompt_id": str(i), "length": n} for i, n in enumerate(lengths or [])]
    return Run(method, 1, None, None, None, verdicts, answers)


def test_rates_add_up():
    found = rates(Tally(5, 2, 2, 1))
    assert [found[f"{k}_rate"] for k in ("win", "loss", "tie", "invalid")] == [0.5, 0.2, 0.2, 0.1]
    assert found["win_rate_decided"] == pytest.approx(5 / 7)
    oracle = stats.binomtest(5, 7).proportion_ci(method="wilson")
    assert found["wilson"] == pytest.approx([oracle.low, oracle.high])


def test_nothing_decided_has_no_decided_rate():
    found = rates(Tally(0, 0, 4, 0))
    assert found["win_rate"] == 0.0
    assert found["win_rate_decided"] is None
    assert found["wilson"] is None


def test_by_category():
    found = by_category(run(["win", "loss", "tie", "win"]).verdicts)
    assert list(found) == ["a", "b", "c"]
    assert (found["a"]["wins"], found["b"]["losses"], found["c"]["ties"]) == (2, 1, 1)


def test_means_and_gain():
    ours = [{"prompt_id": "x", "reward": 3.0}, {"prompt_id": "y", "reward": 5.0}]
    theirs = [{"prompt_id": "y", "reward": 1.0}, {"prompt_id": "x", "reward": 2.0}]
    assert means(ours, "reward")["value"] == 4.0
    # Paired by prompt: 3 − 2 and 5 − 1; mean 2.5, sd 3/√2.
    found = paired_gain(ours, theirs, "reward")
    assert found["value"] == 2.5
    assert found["sd"] == pytest.approx(3 / math.sqrt(2))
    unscored = [{"prompt_id": "x", "reward": None}]
    assert means(unscored, "reward")["value"] is None
    assert paired_gain(unscored, theirs, "reward")["value"] is None


def test_longer_wins_counts_decided_pairs_of_different_length():
    # Lengths against 10: longer won, longer lost, shorter won, shorter lost, tie, equal length.
    judged = run(["win", "loss", "win", "loss", "tie", "win"], [12, 12, 8, 8, 12, 10])
    found = longer_wins(judged, [{"prompt_id": str(i), "length": 10} for i in range(6)])
    assert (found["value"], found["n"]) == (0.5, 4)
    assert longer_wins(run(["tie"], [3]), [{"prompt_id": "0", "length": 10}])["value"] is None


def test_pooled_has_the_wider_interval_with_prompts_as_the_unit():
    # Every run wins exactly the same prompts: the six runs know no more than one.
    runs = [run(["win"] * 30 + ["loss"] * 20) for _ in range(6)]
    found = pooled(runs)
    assert found["win_rate_decided"] == 0.6
    # Wilson's interval of 50 pairs at t(0.975; 49) in place of z.
    square = stats.t.ppf(0.975, 49) ** 2 / 50
    half = math.sqrt(0.24 * square + square**2 / 4)
    assert found["by_prompt"] == pytest.approx([(0.6 + square / 2 + sign * half) / (1 + square) for sign in (-1, 1)])
    assert found["by_prompt"][0] < found["wilson"][0]


def test_across_seeds_counts_the_seeds_that_have_a_number():
    base = dict.fromkeys(
        ("win_rate", "win_rate_decided", "loss_rate", "tie_rate", "preference_mean",
         "length_controlled_win_rate", "kl", "perplexity", "reward_mean", "reward_gain",
         "response_length_mean", "convergence_iteration", "training_seconds", "peak_memory_bytes",
         "seconds_per_iteration")
    )  # fmt: skip
    found = across_seeds([{**base, "kl": 1.0}, {**base, "kl": 3.0}])
    assert (found["kl"]["value"], found["kl"]["n"]) == (2.0, 2)
    assert found["kl"]["sd"] == pytest.approx(math.sqrt(2))
    assert found["perplexity"] == {"value": None, "sd": None, "n": 0, "interval": None}
