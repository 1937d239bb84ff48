import json

import numpy as np
import pytest
from annotations import row, rows, write
from fake_study import FakeStudy

from align_contracts import console, open_artifact
from align_eval import judge
from align_eval.cli import COMMANDS
from align_eval.config import JudgeConfig
from align_eval.judges.base import JudgeFacts, Opinion
from align_eval.preferences import answer_lengths, comparable, grade, preferences


def main(*argv):
    return console.main("align-eval", "", COMMANDS, [str(one) for one in argv])


@pytest.fixture
def imported(tmp_path):
    """Import rows under a name."""

    def make(name, content):
        file = write(tmp_path / f"{name}.json", content)
        assert main("import", "alpaca-eval", file, "--out", tmp_path / name, "--quiet") == 0
        return tmp_path / name

    return make


def summarized(capsys, *paths):
    capsys.readouterr()
    assert main("summarize", *paths, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_numbers_by_hand(imported, capsys):
    found = summarized(capsys, imported("mine", rows()))
    assert found["win_rate"] == 50.0
    assert found["standard_error"] == pytest.approx(100 * (1 / 32) ** 0.5)  # worked out in annotations.py
    assert (found["wins"], found["losses"], found["ties"], found["invalid"], found["n"]) == (2, 2, 1, 1, 6)
    assert (found["candidate"], found["baseline"], found["judge"]) == ("mine", "base", "a judge")
    assert found["longer_rate"] == 100.0  # 10 + i against 10, of the four valid pairs of different length
    assert found["order"] is None
    assert [one["code"] for one in found["alarms"]] == ["length_one_sided"]
    assert 0 < found["length_controlled_win_rate"] < 100


def test_one_valid_pair_has_no_error_and_equal_lengths_no_alarm(imported, capsys):
    found = summarized(capsys, imported("one", [row(0, 2), row(1, None)]))
    assert (found["win_rate"], found["standard_error"]) == (100.0, None)
    assert (found["longer_rate"], found["length_controlled_standard_error"], found["alarms"]) == (None, None, [])


def test_lengths_that_always_differ_alike_give_no_controlled_rate(imported, capsys):
    found = summarized(capsys, imported("one", [row(i, 1 + i % 2, output_2="c" * 30) for i in range(8)]))
    assert found["win_rate"] == 50.0
    assert found["length_controlled_win_rate"] is None


def test_several_share_the_difficulty_and_come_as_a_list(imported, capsys):
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 2, 60)
    paths = []
    for name in ("one", "two", "three"):
        won = rng.random(60) < 1 / (1 + np.exp(-hard))
        lengths = rng.integers(1, 40, 60)
        content = [
            row(i, 1 + int(won[i]), output_1="b" * 20, output_2="c" * int(lengths[i]), generator_2=name)
            for i in range(60)
        ]
        paths.append(imported(name, content))
    together = summarized(capsys, *paths)
    assert [one["candidate"] for one in together] == ["one", "two", "three"]
    assert 1.0 < together[0]["difficulty_sd"] < 4.0  # drawn with 2
    alone = summarized(capsys, paths[0])
    assert alone["difficulty_sd"] == 0.0
    assert alone["win_rate"] == together[0]["win_rate"]
    # Another baseline is another instruction, so to say: nothing is shared with it.
    other = [row(i, 1.5, generator_1="other base") for i in range(60)]
    assert summarized(capsys, paths[0], imported("other", other))[0]["difficulty_sd"] == 0.0


def test_the_prior_of_the_lengths_is_chosen_and_recorded(imported, capsys, tmp_path):
    """By the baseline's name, or as said; another name changes nothing where it was said."""
    content = [row(i, 1 + i % 2, output_2="c" * (1 + 3 * i), generator_1="gpt4_1106_preview") for i in range(12)]
    renamed = [{**one, "generator_1": "gpt-4-turbo"} for one in content]
    usual, plain = imported("usual", content), imported("plain", renamed)
    said = tmp_path / "said"
    given = ("--length-prior", "alpaca-eval-2", "--out", str(said), "--quiet")
    main("import", "alpaca-eval", str(write(tmp_path / "said.json", renamed)), *given)
    assert [open_artifact(path).manifest.config["length_prior"] for path in (usual, plain, said)] == [
        "alpaca-eval-2", "weak", "alpaca-eval-2",
    ]  # fmt: skip
    found = [summarized(capsys, path) for path in (usual, plain, said)]
    assert [one["length_prior"] for one in found] == ["alpaca-eval-2", "weak", "alpaca-eval-2"]
    assert found[0]["length_controlled_win_rate"] == found[2]["length_controlled_win_rate"]
    assert found[0]["length_controlled_win_rate"] != found[1]["length_controlled_win_rate"]


def test_the_table_for_people(imported, capsys):
    main("summarize", imported("mine", rows()))
    head, line, care = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "candidate",
        "preferred",
        "(ties",
        "half)",
        "%",
        "length-controlled",
        "%",
        "wins",
        "losses",
        "ties",
        "invalid",
    ]
    assert line.startswith("mine       50.00 ± 17.68")
    assert line.split()[-4:] == ["2", "2", "1", "1"]
    assert care.startswith("Care, mine: The candidate's answer is the longer one in 100 %")


def test_mistakes(imported, tmp_path, capsys):
    path = imported("mine", rows())
    assert main("summarize", path, path) == 2
    assert "given twice" in capsys.readouterr().err
    assert main("summarize", tmp_path / "none") == 2
    assert main("summarize") == 2


class ByLength:
    """Likes the longer answer, whatever it says; equal lengths are a tie."""

    facts = JudgeFacts("by length")

    def ask(self, questions):
        gaps = [len(q.first) - len(q.second) for q in questions]
        return [Opinion("first" if gap > 0 else "second" if gap < 0 else "tie") for gap in gaps]


class AlwaysA:
    """Says A, whatever it is shown."""

    facts = JudgeFacts("always A")

    def ask(self, questions):
        return [Opinion("first")] * len(questions)


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Judge two answer sets of given lengths; the path of the judgments."""
    study = FakeStudy(tmp_path, prompts=200, validation=3)

    def make(judging, ours, theirs):
        sets = []
        for seed, lengths in enumerate((theirs, ours)):
            name = f"answers-{seed}"
            texts = ["x" * int(n) for n in lengths]
            sets.append(study.make_responses(study.sft, skill=0.5, seed=seed, name=name, texts=texts))
        monkeypatch.setattr(judge, "make_judge", lambda _: judging)
        out = tmp_path / "j"
        config = JudgeConfig(candidate=sets[1].path, baseline=sets[0].path, out=out, quiet=True)
        assert judge.run(config) == 0
        return out

    return make


def test_a_judge_that_loves_length_is_exposed(judged, capsys):
    rng = np.random.default_rng(0)
    path = judged(ByLength(), rng.integers(80, 200, 200), rng.integers(50, 170, 200))
    found = summarized(capsys, path)
    assert found["win_rate"] > 65  # 30 characters more on average
    assert found["length_controlled_win_rate"] == pytest.approx(50, abs=10)
    assert found["length_coefficient"] > 3
    assert found["order"]["flip_rate"] == 0.0


def test_a_judge_that_always_says_a_gives_ties_and_alarms(judged, capsys):
    rng = np.random.default_rng(1)
    found = summarized(capsys, judged(AlwaysA(), rng.integers(80, 200, 200), rng.integers(50, 170, 200)))
    assert (found["wins"], found["losses"], found["ties"], found["invalid"]) == (0, 0, 200, 0)
    assert (found["win_rate"], found["standard_error"]) == (50.0, 0.0)
    assert found["length_controlled_win_rate"] == pytest.approx(50.0, abs=1e-6)
    assert (found["order"]["flip_rate"], found["order"]["first_place_rate"]) == (1.0, 1.0)
    # The lower bound at 200 of 200 pairs: n/(n + t²), t(0.975; 199)² = 3.888615.
    assert found["order"]["first_place_interval"] == pytest.approx([200 / 203.888615, 1.0])
    assert [one["code"] for one in found["alarms"]] == ["ties", "position"]


def test_two_reward_models_of_one_name_are_two_judges(tmp_path, monkeypatch):
    """Both are called reward-model:gold, yet each has its own taste: their verdicts are not fitted together."""
    study = FakeStudy(tmp_path, prompts=6, validation=3)
    theirs, ours = (study.make_responses(study.sft, skill=0.5, seed=i, name=f"answers-{i}").path for i in (0, 1))
    models = [study.make_rm(name, value) for name, value in (("rm-a", 5.0), ("rm-b", 6.0))]
    keys = []
    for number, model in enumerate((*models, models[1])):
        judging = ByLength()
        judging.facts = JudgeFacts("reward-model:gold", inputs={"reward_model": model})
        monkeypatch.setattr(judge, "make_judge", lambda _, judging=judging: judging)
        out = tmp_path / f"j-{number}"
        assert judge.run(JudgeConfig(candidate=ours, baseline=theirs, out=out, quiet=True)) == 0
        keys.append(comparable(open_artifact(out)))
    assert keys[0] != keys[1]
    assert keys[1] == keys[2]


def test_older_rows_take_lengths_from_the_answers(judged, capsys, tmp_path):
    path = judged(ByLength(), [30] * 100 + [10] * 100, [20] * 200)
    verdicts = open_artifact(path).read_jsonl("verdicts")
    ours, theirs = (open_artifact(tmp_path / f"answers-{i}").read_jsonl("responses") for i in (1, 0))
    bare = [{name: one[name] for name in one if not name.startswith("length")} for one in verdicts]
    assert preferences(bare, answer_lengths(ours, theirs)) == preferences(verdicts)
    assert preferences(verdicts).gaps == (10,) * 100 + (-10,) * 100


def test_grades():
    assert [grade({"outcome": o}) for o in ("win", "tie", "loss", "invalid")] == [1.0, 0.5, 0.0, None]
    assert grade({"outcome": "win", "preference": 0.7}) == 0.7
    assert grade({"outcome": "invalid", "preference": None}) is None
