import pytest
from pydantic import ValidationError

from align_contracts import console
from align_eval.cli import COMMANDS
from align_eval.config import CompareConfig, JudgeConfig


def main(*argv):
    return console.main("align-eval", "", COMMANDS, list(argv))


@pytest.mark.parametrize("command", ["respond", "judge", "compare"])
def test_help(command, capsys):
    assert main(command, "--help") == 0
    assert "--out" in capsys.readouterr().out


def test_a_typo_is_an_error_with_a_suggestion(capsys):
    assert main("compare", "--judgment", "x", "--out", "y") == 2
    assert "--judgments" in capsys.readouterr().err
    assert main("judge", "--canddidate", "x") == 2
    assert "--candidate" in capsys.readouterr().err


def test_missing_and_wrong_artifacts(compared, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main("compare", "--judgments", str(tmp_path / "none"), "--out", out) == 2
    assert main("compare", "--judgments", str(compared / "sft"), "--out", out) == 3
    responses = str(compared / "responses-sft")
    assert main("judge", "--candidate", str(compared / "data"), "--baseline", responses, "--out", out) == 3
    assert main("judge", "--candidate", responses, "--baseline", responses, "--judge", "gpt", "--out", out) == 2
    assert "reward-model:PATH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("judge", ["reference:", "reference:x", "openai", "openai:", "reward-model", "x:y", ""])
def test_judge_setting(judge, tmp_path):
    with pytest.raises(ValidationError, match="openai:MODEL"):
        JudgeConfig(candidate=tmp_path, baseline=tmp_path, out=tmp_path, judge=judge)


@pytest.mark.parametrize(
    ("judge", "hint"),
    [
        ("gpt-4o-mini", "Did you mean openai:gpt-4o-mini?"),
        ("refrence", "Did you mean reference?"),
        ("reward-model", "reward-model:PATH"),
        ("openai:", "as in openai:"),
    ],
)
def test_what_a_judge_s_name_may_have_meant(judge, hint, tmp_path):
    with pytest.raises(ValidationError) as caught:
        JudgeConfig(candidate=tmp_path, baseline=tmp_path, out=tmp_path, judge=judge)
    assert hint in str(caught.value).partition(f"got {judge!r}. ")[2]


def test_defaults_are_the_studys(tmp_path):
    config = JudgeConfig(candidate=tmp_path, baseline=tmp_path, out=tmp_path)
    assert (config.judge, config.temperature) == ("reference", 0.0)
    with pytest.raises(ValidationError, match="at least one"):
        CompareConfig(judgments=(), out=tmp_path)
