import pytest
from fake_study import STEPS, FakeStudy
from made_runs import checkpoint, trajectory

from align_eval.gold import reference_gold
from align_eval.trajectory import read_trajectory


def test_a_run_is_read_as_it_was_published(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=6)
    policy = study.make_policy("ppo", 42)
    run = read_trajectory("ppo-42", policy, reference_gold(FakeStudy.prompts("validation", 6)))
    assert [point.iteration for point in run.checkpoints] == list(STEPS)
    assert (run.start.iteration, run.published.iteration, len(run.trained)) == (0, 200, 4)
    rows = policy.read_jsonl("eval_0050_responses")
    point = run.checkpoints[1]
    assert point.read() == rows
    assert point.rewards == {row["prompt_id"]: row["reward"] for row in rows}
    # CHECKS asks for the five words with equal weights
    words = ("amber", "birch", "cedar", "dune", "ember")
    told = [sum(word in row["response"].rstrip(".").split() for word in words) / 5 for row in rows]
    assert list(point.gold.values()) == pytest.approx(told)
    assert point.gold_mean == pytest.approx(sum(told) / 6)


def test_a_run_without_kept_answers_has_its_curve(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=6)
    policy = study.make_policy("ppo", 42, evaluations=False)
    run = read_trajectory("ppo-42", policy, reference_gold(FakeStudy.prompts("validation", 6)))
    assert [point.facts["kl"] for point in run.checkpoints] == [row["kl"] for row in policy.read_jsonl("curve")]
    assert {point.gold_mean for point in run.checkpoints} == {None}
    assert run.checkpoints[0].read() == []


def test_what_was_spent_by_hand():
    """Answers 4, 4, 8 and tokens 10, 20, 30 an iteration; the second took 5 seconds, of which 3 were evaluation."""
    log = [
        {"iteration": 1, "responses": 4, "response_tokens": 10, "seconds": 1.0, "phases": {}},
        {"iteration": 2, "responses": 4, "response_tokens": 20, "seconds": 5.0, "phases": {"eval": 3.0}},
        {"iteration": 3, "responses": 8, "response_tokens": 30, "seconds": 2.0},
    ]
    run = trajectory("grpo-1", checkpoint(0), checkpoint(2), checkpoint(3), log=log)
    assert run.spent == {
        "iterations": [0, 2, 3], "samples": [0, 8, 16], "tokens": [0, 30, 60], "equal_seconds": [0, 3.0, 5.0],
    }  # fmt: skip
    assert set(trajectory("grpo-1", checkpoint(0), checkpoint(3)).spent) == {"iterations"}
