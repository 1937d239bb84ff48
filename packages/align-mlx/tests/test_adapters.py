import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models import gpt2

from align_contracts.errors import ConfigError, VerificationError
from align_mlx import adapters as lora
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec, block_index
from tiny.models import make_config, new_model

LINEARS = {
    **{f"self_attn.{p}_proj": s for p, s in (("q", (32, 32)), ("k", (32, 16)), ("v", (32, 16)), ("o", (32, 32)))},
    **{f"mlp.{p}_proj": s for p, s in (("gate", (32, 64)), ("up", (32, 64)), ("down", (64, 32)))},
}


@pytest.mark.parametrize("name", ["base", "base4"])
def test_wrap_touches_every_linear_of_the_blocks_and_nothing_else(new_resident, name):
    resident = new_resident(name, dense=False)
    assert {k: m.shape for k, m in resident.maps.items()} == {
        f"model.layers.{i}.{part}": shape for i in (0, 1) for part, shape in LINEARS.items()
    }
    wrapped = {k for k, m in resident.model.named_modules() if isinstance(m, AdaptedLinear)}
    assert wrapped == set(resident.maps)
    assert not isinstance(resident.model.model.embed_tokens, AdaptedLinear)


def test_wrap_can_be_told_which_maps(store):
    from mlx_lm.utils import load_model

    model, _ = load_model(store / "base")
    maps = lora.wrap(model, ("q_proj", "down_proj"))
    assert list(maps) == [f"model.layers.{i}.{p}" for i in (0, 1) for p in ("mlp.down_proj", "self_attn.q_proj")]
    assert isinstance(model.layers[0].self_attn.k_proj, nn.Linear)


def test_block_index():
    assert block_index("model.layers.12.mlp.up_proj") == 12


def test_adapted_linear_adds_each_worn_product():
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(5, 3)), rng.normal(size=(2, 4, 3))  # weight [out, in]
    pairs = [(rng.normal(size=(3, 2)), rng.normal(size=(2, 5)), s) for s in (2.0, -0.5)]
    linear = nn.Linear(3, 5, bias=False)
    linear.weight = mx.array(w, mx.float32)
    adapted = AdaptedLinear(linear)
    adapted._worn = [(mx.array(a, mx.float32), mx.array(b, mx.float32), s) for a, b, s in pairs]
    expected = x @ w.T + 2.0 * x @ pairs[0][0] @ pairs[0][1] - 0.5 * x @ pairs[1][0] @ pairs[1][1]
    np.testing.assert_allclose(adapted(mx.array(x, mx.float32)), expected, atol=1e-5)


def test_fresh_adapter_changes_nothing(resident):
    tokens = mx.array([[2, 9, 10, 11]])
    adapter = lora.fresh(resident.maps, LoraSpec(4, 8.0, 2), mx.random.key(0))
    assert mx.array_equal(resident.hidden(tokens, (adapter,)), resident.hidden(tokens))
    assert len(adapter.params) == 2 * 14
    assert (adapter.rank, adapter.scale) == (4, 2.0)
    for name, value in adapter.params.items():
        if name.endswith("lora_a"):
            inputs = value.shape[0]
            assert 0.5 * inputs**-0.5 < mx.abs(value).max().item() <= inputs**-0.5
        else:
            assert not mx.any(value).item()


def test_fresh_depends_on_its_key_alone(resident):
    spec = LoraSpec(4, 8.0, 2)
    one, same, other = (lora.fresh(resident.maps, spec, mx.random.key(k)).params for k in (1, 1, 2))
    name = "model.layers.0.mlp.up_proj.lora_a"
    assert mx.array_equal(one[name], same[name])
    assert not mx.array_equal(one[name], other[name])
    assert not mx.array_equal(one[name], one["model.layers.1.mlp.up_proj.lora_a"])


def test_spec_selects_last_blocks_and_targets(resident):
    names = list(lora.adapted_names(resident.maps, LoraSpec(4, 8.0, 1, ("q_proj", "v_proj"))))
    assert names == ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]
    assert len(list(lora.adapted_names(resident.maps, LoraSpec(4, 8.0, 16)))) == 14


def test_a_target_that_no_map_has_is_refused(resident):
    with pytest.raises(ConfigError, match="q_prj"):
        lora.fresh(resident.maps, LoraSpec(4, 8.0, 2, ("q_prj",)), mx.random.key(0))


def test_an_adapter_on_the_last_block_leaves_the_first_block_alone(new_resident, make_adapter):
    resident = new_resident()
    adapter = make_adapter(resident.maps, 3, LoraSpec(4, 8.0, 1))
    assert {block_index(k) for k in adapter.params} == {1}
    assert adapter.pair("model.layers.0.mlp.up_proj") is None
    assert adapter.pair("model.layers.1.mlp.up_proj") is not None


def test_scaled_is_strength(resident, adapter):
    tokens = mx.array([[2, 9, 10, 11]])
    assert mx.array_equal(resident.hidden(tokens, (adapter.scaled(0.0),)), resident.hidden(tokens))
    half = Adapter({k: v * 0.5 if k.endswith("lora_b") else v for k, v in adapter.params.items()}, adapter.scale)
    difference = resident.hidden(tokens, (adapter.scaled(0.5),)) - resident.hidden(tokens, (half,))
    assert mx.abs(difference).max().item() < 1e-5


def test_save_and_load_round_trip(adapter, tmp_path):
    head = {"head.weight": mx.array([[1.5, -2.0]])}
    lora.save(adapter.scaled(0.3), tmp_path / "a.safetensors", extra=head)
    found, extra = lora.load(tmp_path / "a.safetensors")
    assert found.scale == adapter.scale * 0.3
    assert found.params.keys() == adapter.params.keys()
    assert all(mx.array_equal(found.params[k], v) for k, v in adapter.params.items())
    assert extra.keys() == {"head.weight"}
    assert extra["head.weight"].tolist() == [[1.5, -2.0]]


def test_save_in_bfloat16_loads_as_fp32(adapter, tmp_path):
    lora.save(adapter, tmp_path / "a.safetensors", dtype=mx.bfloat16)
    found, _ = lora.load(tmp_path / "a.safetensors")
    for name, value in adapter.params.items():
        assert found.params[name].dtype == mx.float32
        # bf16 keeps 8 bits of mantissa: relative error at most 2⁻⁹ (2⁻⁸ allows for either rounding).
        np.testing.assert_allclose(found.params[name], value, rtol=2**-8, atol=1e-30)


def test_a_file_without_a_scale_is_no_adapter(tmp_path):
    mx.save_safetensors(str(tmp_path / "x.safetensors"), {"a": mx.zeros(2)})
    with pytest.raises(VerificationError, match=r"x\.safetensors"):
        lora.load(tmp_path / "x.safetensors")


def test_experts_stay_frozen():
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
    config = make_config("qwen3", **experts, decoder_sparse_step=1, mlp_only_layers=[])
    model = new_model({**config, "model_type": "qwen3_moe"})
    maps = lora.wrap(model)
    assert {name.rsplit(".", 1)[-1] for name in maps} == {"q_proj", "k_proj", "v_proj", "o_proj", "gate"}
    frozen = [name for name, _ in tree_flatten(model.parameters()) if ".switch_mlp." in name]
    assert len(frozen) == 6  # gate, up and down of two blocks


def test_blocks_are_found_whatever_their_name():
    sizes = {"n_ctx": 64, "n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 64, "vocab_size": 64}
    model = gpt2.Model(gpt2.ModelArgs.from_dict({"model_type": "gpt2", "layer_norm_epsilon": 1e-5, **sizes}))
    maps = lora.wrap(model, ("c_attn", "c_fc"))
    assert list(maps) == [f"model.h.{i}.{name}" for i in (0, 1) for name in ("attn.c_attn", "mlp.c_fc")]
    assert [block_index(name) for name in maps] == [0, 0, 1, 1]
