"""Edges where two settings that are usually equal differ, or a tokenizer does what tiny ones do not."""

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
