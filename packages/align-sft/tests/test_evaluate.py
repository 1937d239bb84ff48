import json

import pytest

from align_contracts import open_artifact
from align_contracts.errors import ConfigError
from align_mlx import rollout
from align_mlx.chat import encode_prompt
from align_mlx.loading import load_policy
from align_sft import evaluate, train
from align_sft.config import EvalConfig
from tiny.rows import chat_row


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


@pytest.fixture
def written(store):
    """Let the policy write scores for two rows, and a third whose question holds a control token."""
    policy = load_policy(open_artifact(store / "sft"))
    texts = ["which colour has the fox?", "which colour has the fox? it is.", "which <eos> colour has the fox? it is."]
    rows = [chat_row(str(i), text, "Score: 5.0/10.", 5.0) for i, text in enumerate(texts)]
    config = EvalConfig(policy=store / "sft", quiet=True, max_new_tokens=3)
    longest = len(encode_prompt(policy.tokenizer, texts[1])) + 3
    return lambda: evaluate.written_scores(config, policy, rows), longest


def test_scores_are_written_to_questions_without_control_tokens(written, monkeypatch):
    write, longest = written
    lengths = []
    monkeypatch.setattr(evaluate, "require_exact_decoding", lambda resident, longest: lengths.append(longest))
    texts = iter(["Score: 6.0/10.", "Score: 8.0/10."])
    monkeypatch.setattr(evaluate, "decode_response", lambda *args: next(texts))
    found = write()
    assert (found["parse_rate"], found["mae"]) == (1.0, 2.0)  # one and three points from 5
    assert lengths == [longest]


def test_a_policy_that_decodes_otherwise_than_it_scores_writes_nothing(written, monkeypatch):
    exact = rollout._batch_cache
    monkeypatch.setattr(rollout, "_batch_cache", lambda resident, padding: exact(resident, [0] * len(padding)))
    with pytest.raises(ConfigError, match="cannot answer prompts in batches"):
        written[0]()
