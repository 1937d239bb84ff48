import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models import cohere, gemma2, gemma3, gemma3_text, granite, minicpm

from align_contracts.errors import ConfigError
from align_mlx.head import Head, find_head, find_trunk, language_model

HIDDEN = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 64,
    "rms_norm_eps": 1e-6,
}


def linear_of(kind, bits):
    mx.random.seed(1)
    module = {"linear": nn.Linear(32, 64, bias=False), "embedding": nn.Embedding(64, 32)}[kind]
    module.weight = mx.random.normal((64, 32))
    return module.to_quantized(32, bits) if bits else module


def dense(module):
    """The weights of a module in float64; 4-bit codes times their scale plus their offset by hand."""
    if not hasattr(module, "scales"):
        return np.array(module.weight, np.float64)
    packed = np.array(module.weight)
    codes = np.stack([(packed >> (4 * i)) & 15 for i in range(8)], axis=-1).reshape(packed.shape[0], -1)
    scales, biases = (np.repeat(np.array(part, np.float64), 32, axis=1) for part in (module.scales, module.biases))
    return codes * scales + biases


@pytest.mark.parametrize("bits", [0, 4])
@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_logits_are_the_capped_and_scaled_product(kind, bits):
    head = Head(linear_of(kind, bits), scale=0.5, softcap=3.0)
    expected = 3 * np.tanh(0.5 * HIDDEN.astype(np.float64) @ dense(head.linear).T / 3)
    found = head.logits(mx.array(HIDDEN))
    assert found.dtype == mx.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for rows in (slice(0, 20), slice(20, 64), slice(63, 64)):
        np.testing.assert_allclose(head.logits(mx.array(HIDDEN), rows), expected[:, rows], atol=1e-5)


@pytest.mark.parametrize("bits", [0, 4])
def test_a_heads_sizes(bits):
    head = Head(linear_of("linear", bits))
    assert (head.vocab_size, head.hidden_size, head.quantized) == (64, 32, bits > 0)
    assert (head.bits, head.group_size) == ((4, 32) if bits else (0, 0))
    assert (head.scales is None, head.biases is None, head.bias) == (not bits, not bits, None)


def test_a_bias_is_added_before_scale_and_cap():
    module = nn.Linear(32, 64)
    head = Head(module, scale=2.0, softcap=5.0)
    product = HIDDEN.astype(np.float64) @ np.array(module.weight, np.float64).T + np.array(module.bias, np.float64)
    np.testing.assert_allclose(head.logits(mx.array(HIDDEN)), 5 * np.tanh(2 * product / 5), atol=1e-5)
    rows = head.logits(mx.array(HIDDEN), slice(8, 24))
    np.testing.assert_allclose(rows, (5 * np.tanh(2 * product / 5))[:, 8:24], atol=1e-5)


def test_bfloat16_logits_are_fp32_numbers():
    module = linear_of("linear", 0)
    module.set_dtype(mx.bfloat16)
    found = Head(module, scale=1 / 3).logits(mx.array(HIDDEN).astype(mx.bfloat16))
    assert found.dtype == mx.float32
    assert np.any(np.array(found.astype(mx.bfloat16).astype(mx.float32)) != np.array(found))  # the scale is not rounded


def test_cohere_multiplies_and_granite_divides():
    args = cohere.ModelArgs.from_dict({**SIZES, "model_type": "cohere", "logit_scale": 0.25})
    assert find_head(cohere.Model(args)).scale == 0.25
    more = {"attention_multiplier": 1.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.2}
    more |= {"max_position_embeddings": 64, "attention_bias": False, "mlp_bias": False, "rope_theta": 1e4}
    args = granite.ModelArgs.from_dict({**SIZES, **more, "model_type": "granite", "logits_scaling": 8.0})
    assert find_head(granite.Model(args)).scale == 1 / 8


@pytest.mark.parametrize(("tied", "scale"), [(True, 1.0), (False, 0.5)])
def test_minicpm_scales_an_untied_head_only(tied, scale):
    more = {
        "dim_model_base": 16,
        "scale_depth": 1.0,
        "scale_emb": 1.0,
        "rope_theta": 1e4,
        "max_position_embeddings": 64,
    }
    args = minicpm.ModelArgs.from_dict({**SIZES, **more, "model_type": "minicpm", "tie_word_embeddings": tied})
    head = find_head(minicpm.Model(args))
    assert (head.tied, head.scale) == (tied, scale)


def test_gemma2_caps_its_tied_head():
    model = gemma2.Model(gemma2.ModelArgs.from_dict({**SIZES, "model_type": "gemma2", "final_logit_softcapping": 3.0}))
    head = find_head(model)
    assert (head.tied, head.scale, head.softcap) == (True, 1.0, 3.0)
    assert head.linear is model.model.embed_tokens


def test_an_own_head_is_untied():
    model = gemma3_text.Model(gemma3_text.ModelArgs.from_dict({**SIZES, "model_type": "gemma3_text"}))
    assert find_head(model).linear is model.lm_head
    assert not find_head(model).tied
    model.sanitize({})  # what mlx-lm does when it loads a model without a head of its own
    assert find_head(model).linear is model.model.embed_tokens
    assert find_head(model).tied


def test_a_wrapped_language_model_is_found():
    args = gemma3.ModelArgs.from_dict(
        {"model_type": "gemma3", "text_config": SIZES | {"model_type": "t"}, "vocab_size": 64}
    )
    model = gemma3.Model(args)
    assert language_model(model) is model.language_model
    assert find_trunk(model) is model.language_model.model
    assert find_head(model).linear is model.language_model.lm_head


def test_a_model_without_a_head_that_we_know_is_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Module()
            self.model.table = nn.Embedding(4, 4)

    with pytest.raises(ConfigError, match="head or embedding"):
        find_head(Odd())
    with pytest.raises(ConfigError, match="trunk"):
        find_trunk(nn.Linear(4, 4))
