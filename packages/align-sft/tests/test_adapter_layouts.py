"""Layouts by hand: names, transposes and scales of PEFT's and mlx-lm's files, on maps of known shapes."""

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from align_contracts.errors import ConfigError, VerificationError
from align_mlx.adapters import AdaptedLinear, Adapter, stacked
from align_sft.adapter_layouts import from_mlx_lm, from_peft, regular, require_fit, to_mlx_lm, to_peft

Q, UP = "self_attn.q_proj", "mlp.up_proj"
SHAPES = {Q: (3, 2), UP: (3, 5)}
MAPS = {f"model.layers.{i}.{name}": AdaptedLinear(nn.Linear(*SHAPES[name])) for i in range(3) for name in SHAPES}


def adapter(names: list[str], rank: int, scale: float, seed: int = 0) -> Adapter:
    rng, params = np.random.default_rng(seed), {}
    for name in names:
        inputs, outputs = MAPS[name].shape
        params[f"{name}.lora_a"] = mx.array(rng.normal(size=(inputs, rank)).astype(np.float32))
        params[f"{name}.lora_b"] = mx.array(rng.normal(size=(rank, outputs)).astype(np.float32))
    return Adapter(params, scale)


def product(a: Adapter, name: str) -> np.ndarray:
    """scale · A B in float64; zeros where the adapter has no such map."""
    pair = a.pair(name)
    if pair is None:
        return np.zeros(MAPS[name].shape)
    return a.scale * (np.array(pair[0], np.float64) @ np.array(pair[1], np.float64))


def delta(config: dict, tensors: dict, name: str) -> np.ndarray:
    """What PEFT adds to y = x Wᵀ: (alpha / r) · Aᵀ Bᵀ of lora_A [r, in] and lora_B [out, r], by its definition."""
    stem = f"base_model.model.{name}."
    a, b = (np.array(tensors[f"{stem}lora_{half}.weight"], np.float64) for half in "AB")
    return config["lora_alpha"] / config["r"] * (b @ a).T


def test_adapters_of_other_blocks_targets_and_ranks_become_one_regular_adapter():
    sft = adapter([f"model.layers.{i}.{name}" for i in (1, 2) for name in SHAPES], 2, 2.0, 1)
    policy = adapter([f"model.layers.2.{Q}"], 3, 0.5, 2)
    one, spec = regular(stacked([sft, policy]), MAPS)
    assert (spec.rank, spec.layers, spec.targets, spec.scale) == (5, 2, ("q_proj", "up_proj"), 1.0)
    assert {a.shape[1] for name, a in one.params.items() if name.endswith("lora_a")} == {5}
    for name in MAPS:
        np.testing.assert_allclose(product(one, name), product(sft, name) + product(policy, name), atol=1e-6)


def test_what_an_adapter_does_not_have_becomes_zero():
    one, spec = regular(adapter([f"model.layers.1.{Q}", f"model.layers.2.{UP}"], 2, 1.5), MAPS)
    assert spec.layers == 2
    assert len(one.params) == 2 * 4
    assert not np.any(product(one, f"model.layers.1.{UP}"))


def test_the_config_of_mlx_lm():
    one, spec = regular(adapter([f"model.layers.{i}.{UP}" for i in (1, 2)], 4, 2.0), MAPS)
    config, tensors = to_mlx_lm(one, spec, MAPS, "owner/base")
    assert (config["model"], config["fine_tune_type"], config["num_layers"]) == ("owner/base", "lora", 2)
    assert config["lora_parameters"] == {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": [UP]}
    assert set(tensors) == {f"model.layers.{i}.{UP}.lora_{half}" for i in (1, 2) for half in "ab"}


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.1, 1 / 3, 0.7])
def test_peft_adds_exactly_what_the_adapter_adds(scale):
    names = [f"model.layers.{i}.{name}" for i in (1, 2) for name in SHAPES]
    given = adapter(names, 3, scale)
    config, tensors = to_peft(*regular(given, MAPS), MAPS, "owner/base")
    assert config["target_modules"] == ["q_proj", "up_proj"]
    assert config["layers_to_transform"] == [1, 2]
    for name in names:
        np.testing.assert_allclose(delta(config, tensors, name), product(given, name), rtol=1e-6)
    if scale == 2.0:  # alpha = 2 · 3, and nothing is rounded
        assert (config["r"], config["lora_alpha"]) == (3, 6)
        stem = f"base_model.model.model.layers.1.{UP}."
        assert tensors[stem + "lora_A.weight"].shape == (3, 3)
        assert tensors[stem + "lora_B.weight"].shape == (5, 3)


def test_there_and_back_is_the_same_adapter():
    given, spec = regular(adapter(list(MAPS), 2, 2.0), MAPS)
    assert to_peft(given, spec, MAPS, "b")[0]["layers_to_transform"] is None  # all of them
    for back in (
        from_peft(*to_peft(given, spec, MAPS, "b"), MAPS, "x"),
        from_mlx_lm(*to_mlx_lm(given, spec, MAPS, "b"), "x"),
    ):
        assert back.scale == 2.0
        assert all(mx.array_equal(back.params[name], given.params[name]) for name in given.params)


def peft(rank: int = 4, **config: object) -> tuple[dict, dict]:
    name = f"model.layers.2.{Q}"
    tensors = {
        f"base_model.model.{name}.lora_A.weight": mx.ones((rank, 3)),
        f"base_model.model.{name}.lora_B.weight": mx.ones((2, rank)),
    }
    return {"peft_type": "LORA", "r": rank, "lora_alpha": 8, **config}, tensors


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 2.0),  # 8 / 4
        ({"use_rslora": True}, 4.0),  # 8 / √4
        ({"alpha_pattern": {"q_proj": 2}}, 0.5),  # 2 / 4
        ({"alpha_pattern": {"layers.1.self_attn.q_proj": 2}}, 2.0),  # another block
        ({"alpha_pattern": {r"layers\.\d+\.self_attn.q_proj": 1}, "use_rslora": True}, 0.5),  # 1 / √4
        ({"r": 64, "rank_pattern": {"self_attn.q_proj": 4}}, 2.0),
    ],
)
def test_scales_of_peft(config, scale):
    found = from_peft(*peft(**config), MAPS, "x")
    # A and B are ones: every entry of scale · A B is scale · r
    np.testing.assert_allclose(product(found, f"model.layers.2.{Q}"), np.full((3, 2), scale * 4.0))


def test_maps_with_scales_of_their_own():
    config, tensors = peft(alpha_pattern={"up_proj": 1})
    tensors |= {
        f"base_model.model.model.layers.2.{UP}.lora_A.weight": mx.ones((4, 3)),
        f"base_model.model.model.layers.2.{UP}.lora_B.weight": mx.ones((5, 4)),
    }
    found = from_peft(config, tensors, MAPS, "x")
    np.testing.assert_allclose(product(found, f"model.layers.2.{Q}"), np.full((3, 2), 8.0))  # 8/4 · 4
    np.testing.assert_allclose(product(found, f"model.layers.2.{UP}"), np.full((3, 5), 1.0))  # 1/4 · 4


def test_blocks_that_transformers_calls_otherwise_are_found_by_their_end():
    config, tensors = peft()
    moved = {name.replace("model.layers", "model.language_model.layers", 1): t for name, t in tensors.items()}
    found = from_peft(
        config, {n.replace("model.model.language", "model.language"): t for n, t in moved.items()}, MAPS, "x"
    )
    assert found.pair(f"model.layers.2.{Q}") is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "more than a LoRA adapter: expected peft_type LORA, got IA3"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias none, got all"),
        ({"use_qalora": True}, "a variant of LoRA that align does not know: expected no use_qalora, got True"),
        ({"arrow_config": {"top_k": 3}}, "expected no arrow_config, got {'top_k': 3}"),
        ({"of_a_later_version": 0.5}, "expected no of_a_later_version, got 0.5"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa_niter_16"}, "a base that PEFT changed"),
        ({"r": 8}, "has rank 4"),
        ({"lora_alpha": None}, "a positive number, got None"),
        ({"lora_alpha": float("inf")}, "a positive number, got inf"),
        ({"alpha_pattern": {"(": 1}}, "is no pattern"),
        ({"alpha_pattern": [1]}, "expected an object"),
    ],
)
def test_what_is_no_lora_adapter_of_peft_is_refused(change, message):
    config, tensors = peft()
    with pytest.raises(VerificationError) as error:
        from_peft({**config, **change}, tensors, MAPS, "x")
    assert message in str(error.value)


# LoraConfig().to_dict() of PEFT 0.21.2, without what `peft` above gives.
DEFAULTS = {
    "task_type": None, "auto_mapping": None, "peft_version": "0.21.2", "base_model_name_or_path": None,
    "revision": None, "inference_mode": False, "target_modules": None, "exclude_modules": None, "lora_dropout": 0.0,
    "fan_in_fan_out": False, "bias": "none", "use_rslora": False, "modules_to_save": None, "init_lora_weights": True,
    "layers_to_transform": None, "layers_pattern": None, "rank_pattern": {}, "alpha_pattern": {},
    "megatron_config": None, "megatron_core": "megatron.core", "trainable_token_indices": None, "loftq_config": {},
    "eva_config": None, "corda_config": None, "lora_ga_config": None, "use_dora": False, "velora_config": None,
    "alora_invocation_tokens": None, "use_qalora": False, "qalora_group_size": 16, "monteclora_config": None,
    "layer_replication": None, "lora_bias": False, "target_parameters": None, "use_bdlora": None,
    "arrow_config": None, "kasa_config": None, "ensure_weight_tying": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"task_type": "CAUSAL_LM", "base_model_name_or_path": "owner/base", "revision": "main", "inference_mode": True},
        {"target_modules": ["q_proj"], "layers_to_transform": [2], "lora_dropout": 0.05, "init_lora_weights": "eva"},
        {"of_a_later_version": []},
    ],
)
def test_a_config_of_peft_with_all_its_fields_is_taken(more):
    config, tensors = peft()
    found = from_peft({**DEFAULTS, **config, **more}, tensors, MAPS, "x")
    np.testing.assert_allclose(product(found, f"model.layers.2.{Q}"), np.full((3, 2), 8.0))  # 8/4 · 4


@pytest.mark.parametrize(
    "twin", [f"model.vision_tower.encoder.layers.2.{Q}.lora_A.weight", f"model.layers.2.{Q}.lora_A.default.weight"]
)
def test_two_tensors_for_one_matrix_are_refused(twin):
    config, tensors = peft()
    tensors[f"base_model.model.{twin}"] = mx.ones((4, 3))
    with pytest.raises(VerificationError, match=f"has lora_A of model.layers.2.{Q} twice.*{twin}"):
        from_peft(config, tensors, MAPS, "x")


def test_tensors_that_are_no_linear_maps_are_refused():
    config, tensors = peft()
    with pytest.raises(VerificationError, match="lora_embedding_A"):
        from_peft(
            config, {**tensors, "base_model.model.model.embed_tokens.lora_embedding_A": mx.ones((4, 9))}, MAPS, "x"
        )


@pytest.mark.parametrize("config", [{"fine_tune_type": "dora"}, {}, {"lora_parameters": {"alpha": 16}}])
def test_what_is_no_lora_adapter_of_mlx_lm_is_refused(config):
    with pytest.raises(VerificationError):
        from_mlx_lm(config, {}, "x")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "adapts nothing"),
        ({"lm_head.lora_a": (3, 2), "lm_head.lora_b": (2, 9)}, "adapts lm_head: expected linear maps inside"),
        ({f"model.layers.0.{Q}.lora_a": (3, 2)}, "only one of its two matrices"),
        ({f"model.layers.0.{Q}.lora_a": (4, 2), f"model.layers.0.{Q}.lora_b": (2, 2)}, "does not fit the base"),
        ({f"model.layers.0.{Q}.lora_a": (3, 2), f"model.layers.0.{Q}.lora_b": (3, 2)}, "does not fit the base"),
        ({f"model.layers.0.{Q}.lora_a": (3, 0), f"model.layers.0.{Q}.lora_b": (0, 2)}, "does not fit the base"),
    ],
)
def test_an_adapter_of_another_model_is_refused(params, message):
    with pytest.raises(VerificationError, match=message):
        require_fit(Adapter({name: mx.zeros(shape) for name, shape in params.items()}), MAPS, "x")


def test_blocks_that_only_mlx_lm_calls_so_cannot_be_exported_for_peft():
    strange = {name.replace("model.layers", "language_model.model.layers"): m for name, m in MAPS.items()}
    name = f"language_model.model.layers.2.{Q}"
    params = {f"{name}.lora_a": mx.ones((3, 2)), f"{name}.lora_b": mx.ones((2, 2))}
    with pytest.raises(ConfigError, match="by other names"):
        to_peft(*regular(Adapter(params), strange), strange, "b")
