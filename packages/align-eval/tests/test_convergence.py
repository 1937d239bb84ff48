import pytest
from fake_study import STEPS, FakeStudy

from align_eval.convergence import convergence, reached, win_curve
from align_eval.gold import Gold, reference_gold
from align_eval.trajectory import read_trajectory


def scores(*values):
    return {str(i): float(value) for i, value in enumerate(values)}


def test_win_curve_by_hand():
    found = {20: scores(3, 3, 3, 1), 10: scores(1, 2, 2, 3), 30: scores(2, 2, 2, 2)}
    curve = win_curve(found, scores(2, 2, 2, 2))
    assert [(r["iteration"], r["wins"], r["losses"], r["ties"]) for r in curve] == [
        (10, 1, 1, 2),
        (20, 3, 1, 0),
        (30, 0, 0, 4),
    ]
    assert [r["win_rate_decided"] for r in curve] == [0.5, 0.75, None]
    assert reached(curve)["iteration"] == 20


def test_sixty_percent_exactly_counts_and_less_does_not():
    assert reached([{"iteration": 5, "win_rate_decided": 0.6}])["iteration"] == 5
    result = reached([{"iteration": 5, "win_rate_decided": 0.599}])
    assert result["iteration"] is None
    assert "60 %" in result["reason"]


def test_a_run_is_judged_against_its_own_start(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=20)
    gold = reference_gold(FakeStudy.prompts("validation", 20))
    found = convergence(read_trajectory("ppo-42", study.make_policy("ppo", 42, gain=0.5), gold))
    assert [row["iteration"] for row in found["curve"]] == list(STEPS[1:])
    assert found["iteration"] in STEPS
    assert found["reason"] is None


def test_null_with_the_reason(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=4)
    bare = study.make_policy("ppo", 42, evaluations=False)
    known = reference_gold(FakeStudy.prompts("validation", 4))
    for gold, words in ((known, "no answers of iteration 0"), (Gold(reason="the judge is elsewhere"), "elsewhere")):
        found = convergence(read_trajectory("ppo-42", bare, gold))
        assert found["iteration"] is None
        assert words in found["reason"]
        assert found["curve"] == []


def test_equal_scores_tie_whatever_rounding_made_of_them():
    curve = win_curve({1: {"a": 0.1 + 0.2}}, {"a": 0.3})
    assert (curve[0]["ties"], curve[0]["wins"]) == (1, 0)
    assert curve[0]["win_rate_decided"] is None
    assert win_curve({1: {"only here": 1.0}}, {"a": 0.3})[0]["ties"] == pytest.approx(0)
