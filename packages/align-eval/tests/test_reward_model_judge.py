import math

import pytest
from fake_study import FakeStudy

from align_contracts.errors import DivergedError, KindError
from align_eval.judges.base import Opinion, Question, by_score
from align_eval.judges.reward_model import RewardModelJudge


class Scorer:
    def __init__(self, value):
        self.value = value

    def score_texts(self, prompts, responses):
        return [self.value(text) for text in responses]


def test_scores_decide_and_near_equality_ties(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=3)
    judge = RewardModelJudge(study.rm.path, load=lambda _: Scorer({"a": 1.0, "b": 2.0, "c": 2.0 + 1e-10}.__getitem__))
    asked = [Question("1", "p", "a", "b"), Question("1", "p", "b", "a"), Question("2", "p", "b", "c")]
    assert [o.choice for o in judge.ask(asked)] == ["second", "first", "tie"]
    assert judge.facts.inputs["reward_model"].content_digest == study.rm.content_digest


def test_a_score_that_is_no_number_stops(tmp_path):
    study = FakeStudy(tmp_path, prompts=3, validation=3)
    judge = RewardModelJudge(study.rm.path, load=lambda _: Scorer(lambda _: math.nan))
    with pytest.raises(DivergedError):
        judge.ask([Question("1", "p", "a", "b")])
    with pytest.raises(KindError):
        RewardModelJudge(study.sft.path)


def test_by_score():
    assert by_score(1.0, 0.5) == Opinion("first", 1.0, 0.5)
    assert by_score(0.5, 0.5 + 1e-12).choice == "tie"
