import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models.gemma import Model, ModelArgs

from align_contracts.errors import ConfigError
from align_sft.model_files import count_parameters, quantization_record, store_form

CONFIG = {
    "model_type": "gemma",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rms_norm_eps": 1e-6,
    "vocab_size": 64,
}
# embedding 64·64; q 64·32, k and v 64·16, o 32·64; three of 64·96; three norms of 64
PARAMETERS = 64 * 64 + 64 * 32 + 2 * 64 * 16 + 32 * 64 + 3 * 64 * 96 + 3 * 64


def make(dtype=mx.float32):
    model = Model(ModelArgs.from_dict(CONFIG))
    model.set_dtype(dtype)
    return model


def test_parameters_are_counted_before_and_after_quantization():
    model = make()
    assert count_parameters(model) == PARAMETERS
    for bits in (4, 8):
        stored, _ = store_form(make(), CONFIG, bits, 32)
        assert count_parameters(stored) == PARAMETERS


@pytest.mark.parametrize("dtype", [mx.float16, mx.float32])
def test_dense_weights_are_stored_in_bf16(dtype):
    model, config = store_form(make(dtype), {**CONFIG, "torch_dtype": "float16"}, 0, 64)
    assert {v.dtype for _, v in tree_flatten(model.parameters())} == {mx.bfloat16}
    assert config["torch_dtype"] == "bfloat16"
    assert quantization_record(config) is None


def test_quantized_matrices_and_bf16_norms():
    model, config = store_form(make(), CONFIG, 4, 32)
    assert quantization_record(config) == {"bits": 4, "group_size": 32}
    assert model.model.norm.weight.dtype == mx.bfloat16
    assert model.model.layers[0].mlp.up_proj.weight.dtype == mx.uint32
    assert "quantization" not in CONFIG


def test_a_quantized_source_is_kept_or_changed_as_asked():
    model, config = store_form(make(), CONFIG, 4, 32)
    weights = dict(tree_flatten(model.parameters()))
    same, kept = store_form(model, config, 4, 32)
    assert same is model
    assert kept["quantization"] == config["quantization"]
    other, changed = store_form(model, config, 8, 32)
    assert quantization_record(changed) == {"bits": 8, "group_size": 32}
    name = "model.layers.0.mlp.up_proj"
    four = mx.dequantize(*(weights[f"{name}.{part}"] for part in ("weight", "scales", "biases")), 32, 4)
    new = dict(tree_flatten(other.parameters()))
    eight = mx.dequantize(*(new[f"{name}.{part}"] for part in ("weight", "scales", "biases")), 32, 8)
    # 8 bits hold 16 levels to within 1/255 of each group's range (and bf16's rounding of the scales)
    assert mx.abs(four - eight).max().item() < 0.01 * mx.abs(four).max().item()


def test_a_group_that_fits_nowhere_is_an_error():
    with pytest.raises(ConfigError, match="128"):
        store_form(make(), CONFIG, 4, 128)
