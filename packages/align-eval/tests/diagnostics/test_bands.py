import pytest
from made_runs import checkpoint, trajectory

from align_eval.diagnostics.bands import band, convergence_curves, logged


def test_a_band_by_hand():
    found = band([{0: 1.0, 10: 4.0}, {0: 3.0, 10: 5.0, 20: 7.0}])
    assert found == {
        "iteration": [0, 10, 20], "mean": [2.0, 4.5, 7.0], "low": [1.0, 4.0, 7.0], "high": [3.0, 5.0, 7.0],
        "n": [2, 2, 1],
    }  # fmt: skip


def test_long_logs_are_averaged_over_windows():
    """800 iterations with the values 1 … 800 in windows of four: the first is at iteration 4, mean 2.5."""
    run = trajectory("ppo-1", log=[{"iteration": i, "kl": float(i)} for i in range(1, 801)])
    found = logged(run, "kl")
    assert len(found) == 200
    assert (found[4], found[800]) == (2.5, 798.5)
    assert logged(run, "entropy") == {}


def test_curves_by_method():
    runs = [
        trajectory("ppo-1", checkpoint(0, gold=[0.5, 0.7], kl=0.0), checkpoint(10, gold=[0.9, 0.7], kl=0.02),
                   log=[{"iteration": 1, "entropy": 2.0}]),
        trajectory("grpo-1", checkpoint(0, kl=0.0), checkpoint(10, kl=0.04), log=[{"iteration": 1}]),
    ]  # fmt: skip
    reached = {"ppo-1": {"iteration": 10, "reason": None}, "grpo-1": {"iteration": None, "reason": "too slow"}}
    found = convergence_curves(runs, {"ppo-1": {10: 0.6}}, reached)
    assert found["evaluation"]["gold"] == {
        "ppo": {"iteration": [0, 10], "mean": [0.6, pytest.approx(0.8)], "low": [0.6, pytest.approx(0.8)],
                "high": [0.6, pytest.approx(0.8)], "n": [1, 1]}
    }  # fmt: skip
    assert found["evaluation"]["win_rate_decided"]["ppo"]["iteration"] == [10]
    assert found["evaluation"]["kl"]["grpo"]["mean"] == [0.0, 0.04]
    assert set(found["training"]) == {"entropy"}  # what no run logged has no curve
    assert found["reached"][1] == {"label": "grpo-1", "method": "grpo", "iteration": None, "reason": "too slow"}
