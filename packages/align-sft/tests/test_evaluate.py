import json

import pytest

from align_contracts import open_artifact
from align_sft import evaluate, train
from align_sft.config import EvalConfig


def figures(capsys, **kw):
    evaluate.run(EvalConfig(quiet=True, json_output=True, **kw))
    return json.loads(capsys.readouterr().out)


def test_perplexity_of_a_policy(store, capsys):
    found = figures(capsys, policy=store / "sft")
    assert found["perplexity"] == pytest.approx(open_artifact(store / "sft").metric("perplexity_after"), rel=1e-4)
    assert (found["n"], found["dropped"], found["split"]) == (8, 0, "validation")
    assert figures(capsys, policy=store / "sft", split="train", max_rows=5)["n"] == 5


def test_text_output(store, capsys):
    evaluate.run(EvalConfig(policy=store / "sft", quiet=True))
    assert "perplexity" in capsys.readouterr().out


def test_written_scores(store, capsys, make_config, monkeypatch):
    train.run(make_config(store / "scores", format="genrm", max_steps=1))
    found = figures(capsys, policy=store / "scores")
    assert 0.0 <= found["parse_rate"] <= 1.0
    # As if the policy always wrote the row's score plus one, and once something else.
    rows = open_artifact(store / "data").read_jsonl("genrm_validation")
    texts = iter([f"Score: {row['score'] + 1:.1f}/10." for row in rows[:-1]] + ["I would say good."])
    monkeypatch.setattr(evaluate, "decode_response", lambda *args: next(texts))
    found = figures(capsys, policy=store / "scores")
    assert found["parse_rate"] == pytest.approx(7 / 8)
    assert found["mae"] == pytest.approx(1.0)
    assert found["spearman"] == pytest.approx(1.0)
