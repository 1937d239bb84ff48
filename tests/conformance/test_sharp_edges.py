"""Edges where two settings that are usually equal differ, or a tokenizer does what tiny ones do not."""

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers.processors import TemplateProcessing

from align_mlx.adapters import Adapter
from align_mlx.batching import pad
from align_mlx.chat import encode_prompt, encode_turn
from align_mlx.reward import Scorer
from align_rl.config import PPOConfig
from align_rl.methods.ppo import PPO
from align_rm.calibrate import calibrate
from align_rm.pairs import Pair
from align_sft.merge import fold
from conformance.methods import LORA, NOWHERE, SCALE, make_scorer
from conformance.reference import bradley_terry
from conformance.specimen import as_lora, draw_rows, float64, ragged, specimen
from tiny.templates import GEMMA
from tiny.tokenizer import word_tokenizer


def test_the_critic_keeps_the_reward_models_scale():
    """PPO: a critic that starts as the reward model has that model's alpha / rank, whatever the actor's is."""
    model, row = specimen("gemma"), draw_rows(1, [4], [6])[0]
    honest = make_scorer(model, 4)
    adapter = Adapter(honest.adapter.params, 0.4 * SCALE)
    scorer = Scorer(model.resident, adapter, honest.head, honest.calibration)
    method = PPO(PPOConfig(**NOWHERE, **LORA), model.resident, scorer)
    values = ragged(method.values(method.params(mx.random.key(0)), pad([row])), [row])[0]
    head = float64(scorer.head)
    for t, value in enumerate(values):
        seen = (*row.prompt, *row.response[:t])
        raw = bradley_terry.score(
            model.weights, model.config, seen, [as_lora(adapter)], head["weight"][0], head["bias"][0]
        )
        assert value == pytest.approx((raw - scorer.calibration.mean) / scorer.calibration.std, abs=2e-5)


@pytest.mark.parametrize(("odds", "temperature", "before", "after"), [(4.0, 1.0, 0.05, 0.05), (9.0, 2.0, 0.15, 0.0)])
def test_only_a_calibration_error_of_a_tenth_is_scaled_away(odds, temperature, before, after):
    """RM: three of four pairs are right, at margins of log odds: σ is 0.8 or 0.9, and ECE that less 0.75.

    The best T has σ(log odds / T) = 0.75, so T = log odds / log 3: 2 for 9, and for 4 it is 1.26 but not needed.
    """
    rows = draw_rows(2, [3] * 8, [2] * 8)
    margins = np.log(odds) * np.array([1, 1, -1, 1])
    raw = dict(zip(rows, [*margins, 0.0, 0.0, 0.0, 0.0], strict=True))
    scorer = SimpleNamespace(score=lambda asked: np.array([raw[row] for row in asked]))
    pairs = [Pair(str(i), rows[i], rows[4 + i], 1.0) for i in range(4)]
    found = calibrate(scorer, pairs, pairs)
    assert found.temperature == pytest.approx(temperature, rel=1e-6)
    assert (found.ece_before, found.ece_after) == pytest.approx((before, after), abs=1e-6)


def test_merged_weights_are_base_plus_scaled_products():
    """Merge: W + Σ scale · (A B)ᵀ of all adapters, rounded once to bf16 (half a unit of its 8 bits: 2⁻⁸ of itself)."""
    rng = np.random.default_rng(3)
    weight, bias = rng.normal(size=(5, 7)), rng.normal(size=5)
    worn = [(rng.normal(size=(7, 2)), rng.normal(size=(2, 5)), scale) for scale in (0.5, 3.0)]
    linear = nn.Linear(7, 5)
    linear.weight, linear.bias = mx.array(weight, mx.float32), mx.array(bias, mx.float32)
    merged = fold(linear, [(mx.array(a, mx.float32), mx.array(b, mx.float32), scale) for a, b, scale in worn])
    exact = weight + sum(scale * np.einsum("ir,ro->oi", a, b) for a, b, scale in worn)
    np.testing.assert_allclose(np.array(merged.weight.astype(mx.float32)), exact, rtol=2**-8, atol=1e-6)
    np.testing.assert_allclose(merged.bias, bias, rtol=1e-6)


def test_one_begin_token():
    """SFT and rollout: a tokenizer that puts its begin token before every text does not put a second one there."""
    begin = GEMMA.id("<bos>")
    plain, adding = word_tokenizer(), word_tokenizer()
    adding.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", begin)])
    assert adding.encode("w1") == [begin, *plain.encode("w1")]
    expected, found = (TokenizerWrapper(each) for each in (plain, adding))
    assert encode_prompt(found, "w1") == encode_prompt(expected, "w1")
    ends = frozenset({GEMMA.id("<end_of_turn>")})
    turn = encode_turn(found, "w1", "w2 w3", ends)
    assert turn == encode_turn(expected, "w1", "w2 w3", ends)
    assert turn.ids.count(begin) == 1
