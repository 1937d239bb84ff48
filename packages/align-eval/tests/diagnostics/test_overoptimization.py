import math

import numpy as np
import pytest
from made_runs import checkpoint, trajectory

from align_eval.alarms import diagnosed
from align_eval.diagnostics.overoptimization import best_observed, overoptimization
from align_eval.gold import Gold


def planted(label, alpha=1.0, beta=2.0, farthest=0.5):
    """Gold gain d(α − βd) exactly, proxy gain 3d: the peak is at d = α/2β = 0.25, gain α²/4β = 0.125."""
    points = [checkpoint(0, kl=0.0, gold=[0.4] * 4, reward_mean=1.0)]
    for i, d in enumerate(np.linspace(0.1, farthest, 5), start=1):
        gain = d * (alpha - beta * d)
        points.append(checkpoint(10 * i, kl=d * d, gold=[0.4 + gain] * 4, reward_mean=1.0 + 3 * d))
    return trajectory(label, *points)


def fits(found):
    return {(row["method"], row["of"], row["form"]): row for row in found["fits"]}


def test_a_planted_knee_is_found():
    found = fits(overoptimization([planted("ppo-1"), planted("ppo-2"), planted("ppo-3"), planted("grpo-1")]))
    gold = found["ppo", "gold", "bon"]
    assert (gold["alpha"], gold["beta"], gold["n"]) == (pytest.approx(1.0), pytest.approx(2.0), 15)
    assert gold["peak"] == {
        "root_kl": pytest.approx(0.25), "kl": pytest.approx(0.0625), "gain": pytest.approx(0.125), "reached": True,
    }  # fmt: skip
    assert gold["beta_interval"] == [pytest.approx(2.0), pytest.approx(2.0)]
    assert gold["curvature_shown"]
    assert gold["caution"] is None
    assert gold["curve"][-1] == [pytest.approx(0.5), pytest.approx(0.0, abs=1e-12)]
    assert found["ppo", "proxy", "bon"]["alpha"] == pytest.approx(3.0)
    assert found["ppo", "proxy", "bon"]["beta"] == pytest.approx(0.0, abs=1e-12)
    assert found["all", "gold", "rl"]["n"] == 20


def test_a_knee_that_was_not_reached_is_an_extrapolation():
    found = fits(overoptimization([planted(f"ppo-{i}", farthest=0.2) for i in range(3)]))["ppo", "gold", "bon"]
    assert found["peak"]["reached"] is False
    assert "extrapolation" in found["caution"]
    assert "0.2" in found["caution"]


def test_one_run_cannot_show_a_bend():
    found = fits(overoptimization([planted("ppo-1")]))["ppo", "gold", "bon"]
    assert found["beta_interval"] is None
    assert not found["curvature_shown"]
    assert "cannot be told" in found["caution"]


def test_a_curve_that_only_rises_has_no_peak():
    found = fits(overoptimization([planted("ppo-1", beta=-0.5)]))["ppo", "gold", "bon"]
    assert found["peak"] is None
    assert "no peak" in found["caution"]


def test_a_nearly_straight_curve_has_no_peak_worth_a_number():
    """α/2β = 50, a hundred times the farthest distance."""
    found = fits(overoptimization([planted("ppo-1", beta=0.01)]))["ppo", "gold", "bon"]
    assert found["beta"] == pytest.approx(0.01)
    assert found["peak"] is None
    assert "no peak near" in found["caution"]


def test_without_an_offline_judge_there_is_proxy_only():
    bare = trajectory("ppo-1", *(checkpoint(i, kl=0.01 * i) for i in range(5)), gold=Gold(reason="far away"))
    found = overoptimization([bare])
    assert (found["gold"], found["reason"]) == (None, "far away")
    assert {row["of"] for row in found["fits"]} == {"proxy"}
    assert {row["gold_gain"] for row in found["points"]} == {None}
    assert found["best_observed"] == []


def test_the_best_point_is_chosen_on_other_prompts_than_it_is_measured_on():
    """Of p0 … p7 the even ones choose, and like iteration 10 best; the odd ones fell by 0.1, 0.2, 0.3, 0.2 after it."""
    start = checkpoint(0, gold=[0.0] * 8)
    best = checkpoint(10, kl=0.04, gold=[0.9, 0.5, 0.9, 0.5, 0.9, 0.5, 0.9, 0.5], rewards=[1.0] * 8)
    last = checkpoint(20, kl=0.09, gold=[0.8, 0.4, 0.8, 0.3, 0.8, 0.2, 0.8, 0.3], rewards=[1.5] * 8, selected=True)
    row = best_observed(trajectory("ppo-1", start, best, last))
    # mean −0.2, sd 0.0816497, half width 3.18245·0.0816497/2 (t of 3 degrees of freedom at 97.5 %)
    assert (row["iteration"], row["gold_change_after"]) == (10, pytest.approx(-0.2))
    assert row["gold_change_interval"] == pytest.approx([-0.2 - 0.129923, -0.2 + 0.129923], abs=1e-5)
    assert row["root_kl"] == pytest.approx(0.2)
    assert row["proxy_change_after"] == pytest.approx(0.5)
    assert row["over_optimised"]
    warned = diagnosed({"overoptimization": {"best_observed": [row]}, "length": {"runs": []}})
    assert [(one["code"], one["runs"]) for one in warned] == [("over_optimised", ["ppo-1"])]


def test_noise_alone_is_rarely_called_over_optimisation():
    """400 runs whose ten checkpoints are equally good: choosing and measuring on the same prompts would flag many."""
    rng, flags, naive = np.random.default_rng(0), 0, 0
    for _ in range(400):
        gold = rng.normal(0, 1, (11, 60))
        points = [checkpoint(i, gold=gold[i], rewards=[1.0] * 60) for i in range(11)]
        flags += best_observed(trajectory("ppo-1", *points))["over_optimised"]
        change = gold[10] - gold[1 + gold[1:].mean(axis=1).argmax()]
        naive += change.mean() + 2.0 * change.std(ddof=1) / math.sqrt(60) < 0
    assert flags / 400 <= 0.05
    assert naive / 400 > 0.08


def test_too_few_prompts_to_choose_and_to_measure():
    assert best_observed(trajectory("ppo-1", checkpoint(0, gold=[0, 0, 0]), checkpoint(10, gold=[1, 1, 1]))) is None
