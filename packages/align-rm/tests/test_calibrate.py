"""When probabilities are scaled: margins are scripted, so that confidence, accuracy and T are known by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from align_contracts import open_artifact
from align_contracts.errors import ConfigError, NonFiniteError
from align_mlx import rollout
from align_mlx.chat import Tokens
from align_mlx.reward import load_scorer
from align_mlx.world import ALONE, World
from align_rm import calibrate as calibration
from align_rm.calibrate import calibrate, reward_scale
from align_rm.pairs import Pair
from tiny.rows import prompt_row


class Scripted:
    """A scorer that reads the score off an answer's only token, in thousandths."""

    def score(self, rows: Sequence[Tokens], world: World = ALONE) -> np.ndarray:
        return np.array([row.response[0] / 1000 for row in rows])


def pairs(right: int, wrong: int, margin: float) -> list[Pair]:
    """So many pairs ranked right by `margin`, and so many ranked wrong by it."""
    better, worse = (Tokens((2,), (round(1000 * score),)) for score in (margin, 0.0))
    return [Pair("r", better, worse, 1.0)] * right + [Pair("w", worse, better, 1.0)] * wrong


NEAR_LN3 = 1.099
"""Confidence σ(1.099) = ¾, to four places."""


def test_a_small_error_is_left_alone():
    # Confidence ¾, two of three right: ECE = ¾ − ⅔ = 1/12 < 0.1, so T = 1, though ln 3 / ln 2 = 1.58 would fit better.
    found = calibrate(Scripted(), pairs(2, 1, NEAR_LN3), pairs(5, 3, NEAR_LN3))
    assert found.temperature == 1.0
    assert found.ece_calibration == pytest.approx(1 / 12, abs=1e-3)
    assert found.scaling == "not scaled: ECE 0.083 on calibration pairs is below 0.1"
    # Validation pairs are further off (¾ − ⅝ = ⅛): they measure the rule, and do not trigger it.
    assert found.ece_before == found.ece_after == pytest.approx(1 / 8, abs=1e-3)
    # −(2 ln ¾ + ln ¼) / 3
    assert found.nll_after == pytest.approx(-(2 * math.log(0.75) + math.log(0.25)) / 3, abs=1e-3)


def test_a_large_error_is_scaled_away():
    # Confidence ¾, five of eight right: ECE = ¾ − ⅝ = ⅛ ≥ 0.1, so σ(ln 3 / T) = ⅝: T = ln 3 / ln (5/3).
    found = calibrate(Scripted(), pairs(5, 3, NEAR_LN3), pairs(5, 3, NEAR_LN3))
    assert found.ece_calibration == found.ece_before == pytest.approx(1 / 8, abs=1e-3)
    assert found.temperature == pytest.approx(math.log(3) / math.log(5 / 3), rel=1e-3)
    assert found.scaling == "T 2.15: ECE 0.125 on calibration pairs"
    assert found.ece_after == pytest.approx(0.0, abs=1e-3)


def test_too_little_confidence_is_an_error_too():
    # Confidence ¾, all right: ECE = ¼, and T < 1.
    assert calibrate(Scripted(), pairs(8, 0, NEAR_LN3), pairs(8, 0, NEAR_LN3)).temperature < 1.0


def test_accuracy_and_the_scale_of_chosen_answers():
    found = calibrate(Scripted(), pairs(3, 1, 2.0), pairs(3, 1, 2.0))
    assert found.accuracy == 0.75
    assert found.chosen == {"mean": 1.5, "std": pytest.approx(math.sqrt(3) / 2), "n": 4}  # scores 2, 2, 2, 0


ASKED = [prompt_row("a", "w0 w1 w2"), prompt_row("b", "w0 <eos> w1 w2 w3 w4"), prompt_row("c", "w0")]


@pytest.fixture
def scale(store, resident, make_config, tmp_path):
    """Measure the reward scale of the toy store's reward model on `ASKED`."""
    sft, scorer = (open_artifact(store / "sft"), load_scorer(open_artifact(store / "rm"), resident))
    return lambda: reward_scale(make_config(tmp_path / "rm"), sft, scorer, ASKED)


def test_the_scale_is_that_of_prompts_without_control_tokens(scale, monkeypatch):
    lengths = []
    monkeypatch.setattr(calibration, "require_exact_decoding", lambda resident, longest: lengths.append(longest))
    assert scale().n == 2
    # The template takes 9 tokens: 12 of the first prompt, and answers of at most 6.
    assert lengths == [18]


def test_a_policy_that_decodes_otherwise_than_it_scores_has_no_scale(scale, monkeypatch):
    exact = rollout._batch_cache
    monkeypatch.setattr(rollout, "_batch_cache", lambda resident, padding: exact(resident, [0] * len(padding)))
    with pytest.raises(ConfigError, match="cannot answer prompts in batches"):
        scale()


class Spoilt(Scripted):
    """A scripted scorer that gives no number for answers of one token id."""

    def __init__(self, token: int, value: float):
        self.token, self.value = token, value

    def score(self, rows: Sequence[Tokens], world: World = ALONE) -> np.ndarray:
        return np.where([row.response[0] == self.token for row in rows], self.value, super().score(rows))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_not_calibrated(value):
    """A NaN margin would count as a pair ranked wrong, and an infinite one as certain."""
    right, wrong = pairs(2, 1, NEAR_LN3), pairs(2, 0, 2.0)
    with pytest.raises(NonFiniteError, match="the score is not finite: got 2 of 2 pairs: r, r"):
        calibrate(Spoilt(2000, value), right, wrong)
    with pytest.raises(NonFiniteError, match="got 3 of 3 pairs: r, r, w") as caught:
        calibrate(Spoilt(1099, value), right, wrong)
    assert caught.value.exit_code == 4


def test_a_reward_scale_of_no_numbers_is_refused(store, make_config):
    sft, data = open_artifact(store / "sft"), open_artifact(store / "data")
    scorer = load_scorer(open_artifact(store / "rm"))
    scorer.head["bias"] = scorer.head["bias"] * math.nan
    prompts = data.read_jsonl("prompts_calibration")
    config = make_config(store / "o", calibration_prompts=3)
    named = ", ".join(row["prompt_id"] for row in prompts[:3])
    with pytest.raises(NonFiniteError, match=f"reward of an SFT answer is not finite: got 3 of 3 prompts: {named}"):
        reward_scale(config, sft, scorer, prompts)
