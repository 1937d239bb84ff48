import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model
from transformers import AutoTokenizer

from tiny.models import FAMILIES, VARIANTS, make_model, quantize, save_model
from tiny.tokenizer import word_tokenizer

TOKENS_BL = mx.array(np.random.default_rng(0).integers(0, 64, (4, 16)))


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_files_hold_the_model(tmp_path, family, tied):
    model, config = make_model(family, tied=tied)
    save_model(tmp_path, model, config, word_tokenizer(FAMILIES[family].chat))
    loaded, found = load_model(tmp_path)
    assert found["model_type"] == family
    assert ("lm_head.weight" in dict(tree_flatten(loaded.parameters()))) == (not tied)
    np.testing.assert_array_equal(np.array(loaded(TOKENS_BL)), np.array(model(TOKENS_BL)))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert set(tokenizer.convert_tokens_to_ids(FAMILIES[family].chat.ends)) == set(config["eos_token_id"])


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_its_numbers_are_those_of_bfloat16_and_its_predictions_those_of_a_model(family, tied):
    model, _ = make_model(family, tied=tied)
    for _, value in tree_flatten(model.parameters()):
        assert mx.array_equal(value, value.astype(mx.bfloat16))
    logits_BLV = np.array(model(TOKENS_BL), np.float64)
    probs_BLV = np.exp(logits_BLV) / np.exp(logits_BLV).sum(-1, keepdims=True)
    entropy_BL = -(probs_BLV * np.log(probs_BLV)).sum(-1)
    assert entropy_BL.mean() < 0.9 * np.log(64)  # far from uniform, and from certain
    assert entropy_BL.mean() > 0.3 * np.log(64)
    assert (logits_BLV.argmax(-1) == np.array(TOKENS_BL)).mean() < 0.3  # it does not just repeat its input
    changed = np.array(model(mx.concatenate([(TOKENS_BL[:, :1] + 1) % 64, TOKENS_BL[:, 1:]], axis=1)))
    assert np.abs(changed - logits_BLV)[:, 2].max() > 0.01  # and it reads what came before


def test_the_features_that_families_are_here_for():
    gemma2, gemma3 = (make_model(family)[0] for family in ("gemma2", "gemma3_text"))
    assert mx.abs(gemma2(TOKENS_BL)).max().item() < 3.0  # the cap
    assert [layer.self_attn.is_sliding for layer in gemma3.layers] == [True, False]
    assert gemma2.args.num_attention_heads == 2 * gemma2.args.num_key_value_heads
    with pytest.raises(ValueError, match="untied"):
        make_model("gemma", tied=False)


def test_a_quantized_model_stays_one_of_files(tmp_path):
    model, config = quantize(*make_model("llama"))
    save_model(tmp_path, model, config, word_tokenizer(FAMILIES["llama"].chat))
    loaded, found = load_model(tmp_path)
    assert found["quantization"]["bits"] == 4
    np.testing.assert_array_equal(
        np.array(loaded(TOKENS_BL).astype(mx.float32)), np.array(model(TOKENS_BL).astype(mx.float32))
    )
