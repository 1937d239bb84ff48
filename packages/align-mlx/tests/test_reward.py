from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import open_artifact
from align_mlx import batching
from align_mlx.chat import Tokens, encode_turn
from align_mlx.loading import load_policy
from align_mlx.reward import Calibration, head_scores, load_scorer


@pytest.fixture(scope="module")
def scorer(store):
    return load_scorer(open_artifact(store / "rm"), load_policy(open_artifact(store / "sft")))


def test_head_reads_the_last_real_token():
    # Answers of 1 and 2 tokens: states (3, 4) and (9, 10). 0.5·3 − 1·4 + 2 = −0.5; 0.5·9 − 1·10 + 2 = −3.5.
    hidden = mx.array([[[1, 2], [3, 4], [99, 99]], [[5, 6], [7, 8], [9, 10]]], mx.float32)
    head = {"weight": mx.array([[0.5, -1.0]]), "bias": mx.array([2.0])}
    assert head_scores(hidden, mx.array([1, 2]), head).tolist() == [-0.5, -3.5]


@pytest.mark.parametrize(
    ("lengths", "weight", "bias"),
    [((1,), (1, 2), (1,)), ((2, 1), (1, 2), (1,)), ((2,), (2, 1), (1,)), ((2,), (1, 2), (2,))],
)
def test_head_shapes_are_checked(lengths, weight, bias):
    head = {"weight": mx.zeros(weight), "bias": mx.zeros(bias)}
    with pytest.raises(ValueError, match="lengths, weight and bias"):
        head_scores(mx.zeros((2, 3, 2)), mx.ones(lengths, mx.int32), head)


def test_score_is_the_head_on_the_last_state_of_each_row_alone(scorer, rows):
    found = scorer.score(rows)
    weight = np.array(scorer.head["weight"], np.float64)[0]
    for score, row in zip(found, rows, strict=True):
        last = np.array(scorer.resident.hidden(mx.array([row.ids]), (scorer.adapter,))[0, -1], np.float64)
        assert score == pytest.approx(last @ weight + 0.5, abs=1e-4)


def test_scores_do_not_depend_on_order_or_batching(scorer, rows):
    found = scorer.score(rows)
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_allclose(scorer.score([rows[i] for i in order]), found[order], atol=1e-5)
    np.testing.assert_allclose(replace(scorer, token_budget=1).score(rows), found, atol=1e-5)
    assert found.std() > 0.1


def test_answers_to_one_prompt_read_it_together(scorer, rows, monkeypatch):
    """Five answers to two prompts of 25 and 30 tokens: the trunk reads both prompts, then the answers behind them."""
    asked = [rows[i % 2 * 7 + 2].prompt for i in range(5)]
    answers = [Tokens(prompt, rows[i].response) for i, prompt in enumerate(asked)]
    expected = [scorer.score([row])[0] for row in answers]
    shapes, hidden = [], type(scorer.resident).hidden

    def recorded(self, tokens_BL, *more):
        shapes.append(tokens_BL.shape)
        return hidden(self, tokens_BL, *more)

    monkeypatch.setattr(type(scorer.resident), "hidden", recorded)
    monkeypatch.setattr(batching, "backend", lambda: "cuda")  # buckets of 16 tokens
    np.testing.assert_allclose(scorer.score(answers), expected, atol=1e-5)
    assert shapes == [(2, 32), (5, 48)]  # the longest answer has 40 tokens


def test_score_texts_scores_the_templated_turn(scorer):
    base = scorer.resident
    turn = encode_turn(base.tokenizer, "w0 w1", "w2", base.end_tokens)
    assert turn.response == (11, 5)
    assert scorer.score_texts(["w0 w1"], ["w2"]) == pytest.approx(scorer.score([turn]).tolist())


def test_load_scorer_finds_its_own_backbone(store, scorer, rows):
    alone = load_scorer(open_artifact(store / "rm"))
    np.testing.assert_allclose(alone.score(rows), scorer.score(rows), atol=1e-5)
    assert alone.calibration == Calibration(1.5, 2.0)


def test_calibration_is_affine():
    # (5.5 − 1.5) / 2 = 2 standard deviations above the mean; on mean 3, std 0.5 that is 4.
    calibration = Calibration(1.5, 2.0)
    assert calibration.apply(np.array([5.5, 1.5])).tolist() == [2.0, 0.0]
    assert calibration.apply(np.array([5.5, 1.5]), mean=3.0, std=0.5).tolist() == [4.0, 3.0]
