import json

import numpy as np
import pytest

from align_contracts import open_artifact
from align_mlx.reward import load_scorer
from align_rm import cli
from align_rm import eval as rm_eval
from align_rm.config import EvalConfig


def test_figures(store, capsys):
    rm_eval.run(EvalConfig(rm=store / "rm", split="test", json_output=True))
    found = json.loads(capsys.readouterr().out)
    rows = open_artifact(store / "data").read_jsonl("pairs_test")
    scorer = load_scorer(open_artifact(store / "rm"))
    prompts = [r["prompt"] for r in rows]
    chosen, rejected = (np.array(scorer.score_texts(prompts, [r[k] for r in rows])) for k in ("chosen", "rejected"))
    assert found["pairwise_accuracy"] == pytest.approx(np.mean(chosen > rejected))
    # One token a word: the longer answer in words is the longer one in tokens; an equal length is half right.
    lengths = [len(r["chosen"].split()) - len(r["rejected"].split()) for r in rows]
    assert found["longer_answer_accuracy"] == pytest.approx(np.mean([(d > 0) + 0.5 * (d == 0) for d in lengths]))
    assert (found["n"], found["dropped"], found["split"]) == (24, 0, "test")
    assert found["temperature"] == open_artifact(store / "rm").details.temperature


def test_text_and_command_line(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["align-rm", "eval", "--rm", str(store / "rm"), "--split", "validation"])
    assert cli.main() == 0
    shown = capsys.readouterr().out
    assert f"{open_artifact(store / 'rm').details.pairwise_accuracy:.3f}" in shown
    assert "longer answer" in shown


@pytest.mark.parametrize("name", ["train", "eval"])
def test_every_command_has_help(capsys, monkeypatch, name):
    monkeypatch.setattr("sys.argv", ["align-rm", name, "--help"])
    assert cli.main() == 0
    assert "Examples" in capsys.readouterr().out


def test_a_wrong_kind_is_one_line(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["align-rm", "eval", "--rm", str(store / "sft")])
    assert cli.main() == 3
    assert "reward_model" in capsys.readouterr().err
