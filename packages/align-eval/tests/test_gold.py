import pytest
from fake_study import CHECKS, FakeStudy

from align_contracts import open_artifact
from align_eval import gold, judge
from align_eval.config import JudgeConfig

PROMPTS = [{"prompt_id": "a", "prompt": "A?", "checks": CHECKS}, {"prompt_id": "b", "prompt": "B?", "checks": CHECKS}]


class Judgments:
    """Only what a gold score asks of judgments."""

    def __init__(self, name):
        self.details = type("Details", (), {"judge": name})

    def input(self, role):
        return f"the {role}"


def test_reference_checks_score_each_answer():
    """CHECKS asks for five words of weight 1 each: two of them are 0.4."""
    found = gold.make_gold(Judgments("reference"), PROMPTS, most=0)
    rows = [{"prompt_id": "a", "response": "amber and birch"}, {"prompt_id": "unknown", "response": "amber"}]
    assert found.of(rows) == {"a": pytest.approx(0.4)}
    assert (found.name, found.reason) == ("reference", None)


def test_a_judging_reward_model_scores_some_prompts_each_answer_once(monkeypatch):
    asked = []

    class Scorer:
        def score_texts(self, prompts, responses):
            asked.append((prompts, responses))
            return [float(len(text)) for text in responses]

    monkeypatch.setattr("align_eval.judges.reward_model.load_scorer", lambda artifact: Scorer())
    found = gold.make_gold(Judgments("reward-model:gold"), PROMPTS, most=1)
    rows = [{"prompt_id": "a", "response": "four"}, {"prompt_id": "b", "response": "left out"}]
    assert found.of(rows) == {"a": 4.0}
    assert asked == [(["A?"], ["four"])]
    assert found.score([("a", "xx"), ("a", "xx")]) == [2.0, 2.0]
    assert asked[-1] == (["A?"], ["xx"])


@pytest.mark.parametrize(
    ("name", "prompts", "most", "words"),
    [
        ("openai:gpt-4o-mini", PROMPTS, 9, "not offline"),
        ("reward-model:gold", PROMPTS, 0, "--gold-prompts is 0"),
        ("reference", [{"prompt_id": "a", "prompt": "A?"}], 9, "no reference checks"),
    ],
)
def test_no_score_with_the_reason(name, prompts, most, words):
    found = gold.make_gold(Judgments(name), prompts, most)
    assert found.name is None
    assert words in found.reason
    assert found.of([{"prompt_id": "a", "response": "amber"}]) == {}


def test_the_judge_and_the_gold_score_agree(tmp_path):
    """On the same answers the sign of the difference of gold scores is the judge's outcome."""
    study = FakeStudy(tmp_path, prompts=60, validation=3)
    base = study.make_responses(study.sft, skill=0.4)
    study.make_responses(study.make_policy("ppo", 42), skill=0.6)
    out = tmp_path / "judgments"
    judge.run(JudgeConfig(candidate=tmp_path / "responses-ppo-42", baseline=base.path, out=out, quiet=True))
    verdicts = open_artifact(out)
    score = gold.make_gold(verdicts, study.data.read_jsonl("prompts_test"), 0)
    mine = score.of(open_artifact(tmp_path / "responses-ppo-42").read_jsonl("responses"))
    theirs = score.of(base.read_jsonl("responses"))
    assert {row["outcome"] for row in verdicts.read_jsonl("verdicts")} >= {"win", "loss"}
    for row in verdicts.read_jsonl("verdicts"):
        gap = mine[row["prompt_id"]] - theirs[row["prompt_id"]]
        assert row["outcome"] == ("tie" if abs(gap) < 1e-9 else "win" if gap > 0 else "loss")
