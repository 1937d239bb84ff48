import hashlib
import json
import re

import pytest
from chat_server import completion, verdict
from fake_study import FakeStudy, answer

from align_contracts import console, open_artifact, space
from align_contracts.errors import ConfigError, IncompleteError, PreflightError, VerificationError
from align_eval import judge
from align_eval.algorithms.swap import Tally
from align_eval.config import JudgeConfig
from align_eval.judges.base import JudgeFacts, Opinion
from align_eval.judges.prompt import load_prompt


@pytest.fixture
def study(tmp_path):
    return FakeStudy(tmp_path, prompts=12, validation=3)


def config(study, candidate, baseline, **settings):
    return JudgeConfig(candidate=candidate.path, baseline=baseline.path, out=study.root / "j", quiet=True, **settings)


def test_an_artifact_against_itself_is_refused_and_its_policy_with_other_sampling_keys_is_not(study):
    base = study.make_responses(study.sft, skill=0.5)
    with pytest.raises(VerificationError, match="so every pair would be a tie"):
        judge.run(config(study, base, base))
    assert not (study.root / "j").exists()
    again = study.make_responses(study.sft, skill=0.5, seed=1, name="again")
    assert judge.run(config(study, again, base)) == 0


def test_a_missing_key_is_said_before_anything_is_opened(study, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    nowhere = {name: study.root / "nowhere" for name in ("candidate", "baseline")}
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        judge.run(JudgeConfig(**nowhere, out=study.root / "j", judge="openai:m"))


def test_candidate_and_baseline_exchanged_are_noted(study, capsys):
    base = study.make_responses(study.sft, skill=0.5)
    trained = study.make_responses(study.make_policy("ppo", 42), skill=0.6)
    judge.run(config(study, base, trained))
    assert judge.SWAPPED in capsys.readouterr().err
    judge.run(config(study, trained, base, overwrite=True))
    assert judge.SWAPPED not in capsys.readouterr().err


def test_reference_judge_by_hand(study):
    base = study.make_responses(study.sft, skill=0.5)
    policy = study.make_policy("ppo", 42)
    study.make_responses(policy, skill=0.6)
    # Rewrite nothing: count by hand from the stored texts. A score is the share of the five words that stand in it.
    words = ("amber", "birch", "cedar", "dune", "ember")
    ours = open_artifact(study.root / "responses-ppo-42").read_jsonl("responses")
    expected = []
    for mine, other in zip(ours, base.read_jsonl("responses"), strict=True):
        a, b = (sum(w in row["response"] for w in words) for row in (mine, other))
        expected.append("win" if a > b else "loss" if a < b else "tie")
    assert judge.run(config(study, open_artifact(study.root / "responses-ppo-42"), base)) == 0
    published = open_artifact(study.root / "j", "judgments", deep=True)
    rows = published.read_jsonl("verdicts")
    assert [row["outcome"] for row in rows] == expected
    assert all(row["forward"] == row["backward"] for row in rows)
    details = published.details
    assert (details.wins, details.losses, details.ties) == tuple(expected.count(o) for o in ("win", "loss", "tie"))
    assert (details.judge, details.swapped, details.invalid, details.prompts) == ("reference", True, 0, 12)
    assert {record.role for record in published.manifest.inputs} == {"candidate", "baseline", "dataset"}
    assert published.metric("win_rate") == pytest.approx(expected.count("win") / 12)
    assert published.metric("order_flip_rate") == 0.0


def test_the_disk_is_asked_before_anything_is_judged(study, monkeypatch):
    base, asked = study.make_responses(study.sft, skill=0.5), []
    study.make_responses(study.make_policy("ppo", 42), skill=0.6)
    given = config(study, open_artifact(study.root / "responses-ppo-42"), base)
    before = sorted(study.root.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(space, "free_bytes", lambda target: 100)
        patch.setattr(judge, "ask_both_orders", None)  # is not reached
        with pytest.raises(PreflightError, match=r"/j needs more disk than there is: .* \(the verdicts"):
            judge.run(given)
    assert sorted(study.root.iterdir()) == before
    monkeypatch.setattr(judge, "require_space", lambda target, parts: asked.append(sum(parts.values())))
    judge.run(given)
    assert open_artifact(study.root / "j").file("verdicts").stat().st_size < asked[0]


def test_judging_twice_gives_equal_content(study):
    base = study.make_responses(study.sft, skill=0.5)
    other = study.make_responses(study.sft, skill=0.5, seed=1, name="responses-aa")
    judge.run(config(study, other, base))
    one = open_artifact(study.root / "j").content_digest
    with pytest.raises(PreflightError):
        judge.run(config(study, other, base))
    judge.run(config(study, other, base, overwrite=True))
    assert open_artifact(study.root / "j").content_digest == one


class Fixed:
    """A judge that gives the same choice always; the first `invalid` questions get an invalid reply."""

    facts = JudgeFacts("fixed")

    def __init__(self, choice, invalid=0):
        self.choice, self.invalid = choice, invalid

    def ask(self, questions):
        return [Opinion("invalid" if i < self.invalid else self.choice) for i, _ in enumerate(questions)]


def test_a_judge_that_always_says_first_ties_everything(study, monkeypatch):
    base = study.make_responses(study.sft, skill=0.5)
    other = study.make_responses(study.sft, skill=0.9, seed=1, name="responses-aa")
    monkeypatch.setattr(judge, "make_judge", lambda _: Fixed("first"))
    judge.run(config(study, other, base))
    published = open_artifact(study.root / "j")
    assert (published.details.ties, published.metric("order_flip_rate"), published.metric("first_place_rate")) == (
        12,
        1,
        1,
    )


def test_too_many_invalid_replies_publish_nothing(study, monkeypatch):
    base = study.make_responses(study.sft, skill=0.5)
    other = study.make_responses(study.sft, skill=0.9, seed=1, name="responses-aa")
    monkeypatch.setattr(judge, "make_judge", lambda _: Fixed("first", invalid=1))
    with pytest.raises(IncompleteError, match="1 of 12 pairs") as caught:
        judge.run(config(study, other, base))
    assert caught.value.exit_code == 5
    assert not (study.root / "j").exists()


def test_two_percent_is_still_valid():
    judge.require_valid(Tally(wins=98, losses=0, ties=0, invalid=2))
    with pytest.raises(IncompleteError):
        judge.require_valid(Tally(wins=97, losses=0, ties=0, invalid=3))


def test_prompts_must_be_the_same_and_in_order(study):
    rows = FakeStudy.prompts("test", 12)
    base = study.make_responses(study.sft, skill=0.5)
    swapped = study.make_responses(study.sft, skill=0.5, seed=1, name="swapped", rows=[*rows[1:], rows[0]])
    with pytest.raises(VerificationError, match="same order"):
        judge.run(config(study, swapped, base))
    strange = [{**row, "prompt_id": f"other-{i}"} for i, row in enumerate(rows)]
    one = study.make_responses(study.sft, skill=0.5, name="strange", rows=strange)
    two = study.make_responses(study.sft, skill=0.5, seed=1, name="strange-aa", rows=strange)
    with pytest.raises(VerificationError, match="is not in data"):
        judge.run(config(study, two, one))


def test_answers_are_not_judged_against_themselves(study):
    base = study.make_responses(study.sft, skill=0.5)
    copy = study.make_responses(study.sft, skill=0.5, name="copy")
    for same in (base, copy):
        with pytest.raises(VerificationError, match=r"--sampling-seed 1"):
            judge.run(config(study, same, base))
    assert not (study.root / "j").exists()


def test_another_dataset_is_refused(study, tmp_path):
    elsewhere = FakeStudy(tmp_path / "elsewhere", prompts=13, validation=3)
    base = study.make_responses(study.sft, skill=0.5)
    other = elsewhere.make_responses(elsewhere.sft, skill=0.5)
    with pytest.raises(VerificationError, match="different datasets"):
        judge.run(config(study, other, base))
    again = study.make_responses(study.sft, skill=0.5, seed=1, name="responses-aa")
    with pytest.raises(VerificationError, match="is not the dataset"):
        judge.run(config(study, again, base, data=elsewhere.data.path))


def test_reference_judge_needs_checks(tmp_path):
    study = FakeStudy(tmp_path, prompts=6, validation=3, checks=False)
    base = study.make_responses(study.sft, skill=0.5)
    again = study.make_responses(study.sft, skill=0.5, seed=1, name="responses-aa")
    with pytest.raises(VerificationError, match="no reference checks"):
        judge.run(config(study, again, base))
    assert not (tmp_path / "j").exists()


def test_the_path_of_a_reward_model_is_no_part_of_the_result(study, monkeypatch):
    class Scorer:
        def score_texts(self, prompts, responses):
            assert len(set(zip(prompts, responses, strict=True))) == len(prompts)  # each answer once
            return [float(len(text)) for text in responses]

    monkeypatch.setattr("align_eval.judges.reward_model.load_scorer", lambda _: Scorer())
    base = study.make_responses(study.sft, skill=0.5)
    other = study.make_responses(study.sft, skill=0.9, seed=1, name="responses-aa")
    import align_eval.judges.reward_model as module

    monkeypatch.setattr(module.RewardModelJudge.__init__, "__defaults__", (module.load_scorer,))
    judge.run(config(study, other, base, judge=f"reward-model:{study.rm.path}"))
    published = open_artifact(study.root / "j")
    assert published.details.judge == "reward-model:train"
    assert str(study.root) not in json.dumps(published.raw["config"])
    # What a rerun would ask for is what stands in the manifest, so a finished step is recognised.
    again = config(study, other, base, judge=f"reward-model:{study.rm.path}")
    assert console.deterministic(again) == published.manifest.config
    assert published.input("reward_model").content_digest == study.rm.content_digest
    for row, mine, theirs in zip(
        published.read_jsonl("verdicts"), other.read_jsonl("responses"), base.read_jsonl("responses"), strict=True
    ):
        gap = len(mine["response"]) - len(theirs["response"])
        assert row["outcome"] == ("win" if gap > 0 else "loss" if gap < 0 else "tie")
        assert row["score_candidate"] - row["score_baseline"] == gap


def test_the_helper_answers_vary():
    import numpy as np

    assert answer(np.random.default_rng(0), 0.5) != answer(np.random.default_rng(1), 0.5)


def test_an_api_judge_from_end_to_end(study, serve, monkeypatch, tmp_path):
    """Replies are unusable at first: exit 5 and nothing published; asked again, the judging is whole."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def reply(text, before):
        answers = re.findall(r"<answer_[AB]>\n(.*?)\n</answer_[AB]>", text, flags=re.DOTALL)
        letter = "A" if len(answers[0]) > len(answers[1]) else "B" if len(answers[0]) < len(answers[1]) else "tie"
        return completion("no idea") if before == 0 else verdict(letter)

    server = serve(reply)
    base = study.make_responses(study.sft, skill=0.3)
    other = study.make_responses(study.sft, skill=0.9, seed=1, name="responses-aa")
    settings = {"judge": "openai:m", "base_url": server.url, "cache": tmp_path / "replies.sqlite3"}
    settings["reply_form"] = "json_schema"
    with pytest.raises(IncompleteError, match="--retry-invalid"):
        judge.run(config(study, other, base, **settings))
    judge.run(config(study, other, base, retry_invalid=True, **settings))
    published = open_artifact(study.root / "j", deep=True)
    gaps = [
        len(a["response"]) - len(b["response"])
        for a, b in zip(other.read_jsonl("responses"), base.read_jsonl("responses"), strict=True)
    ]
    expected = ["win" if gap > 0 else "loss" if gap < 0 else "tie" for gap in gaps]
    assert [row["outcome"] for row in published.read_jsonl("verdicts")] == expected
    assert (published.details.judge, published.details.model) == ("openai:m", "m")
    assert published.details.judge_prompt_digest == hashlib.sha256(load_prompt("json_schema").encode()).hexdigest()
    assert published.file("judge_prompt").read_text() == load_prompt("json_schema")
    assert set(server.asked.values()) == {2}
