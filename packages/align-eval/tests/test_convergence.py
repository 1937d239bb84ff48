import pytest
from fake_study import STEPS, FakeStudy

from align_eval.convergence import convergence, reached, win_curve


def rows(*texts):
    return [{"prompt_id": str(i), "response": text} for i, text in enumerate(texts)]


def test_win_curve_by_hand():
    # The score is the text's length; the baseline's are 2, 2, 2, 2.
    baseline = {str(i): "xx" for i in range(4)}
    answers = {20: rows("xxx", "xxx", "xxx", "x"), 10: rows("x", "xx", "xx", "xxx"), 30: rows("xx", "xx", "xx", "xx")}
    curve = win_curve(answers, baseline, lambda _, text: float(len(text)))
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
    found = convergence(study.make_policy("ppo", 42, gain=0.5), FakeStudy.prompts("validation", 20), "reference")
    assert [row["iteration"] for row in found["curve"]] == list(STEPS[1:])
    assert found["iteration"] in STEPS
    assert found["reason"] is None


@pytest.mark.parametrize(
    ("judge", "checks", "evaluations", "words"),
    [
        ("openai:gpt-4o-mini", True, True, "not offline"),
        ("reward-model:gold", True, True, "not offline"),
        ("reference", False, True, "no reference checks"),
        ("reference", True, False, "no answers of iteration 0"),
    ],
)
def test_null_with_the_reason(tmp_path, judge, checks, evaluations, words):
    study = FakeStudy(tmp_path, prompts=3, validation=4)
    policy = study.make_policy("ppo", 42, evaluations=evaluations)
    found = convergence(policy, FakeStudy.prompts("validation", 4, checks), judge)
    assert found["iteration"] is None
    assert words in found["reason"]
    assert found["curve"] == []
