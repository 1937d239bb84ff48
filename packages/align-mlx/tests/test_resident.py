import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model

from align_contracts import open_artifact, publish
from align_contracts.errors import ConfigError
from align_mlx.chat import encode_turn
from align_mlx.loading import load_base, load_policy, policy_adapters, require_own_logits

TOKENS = [[2, 4, 7, 9, 33, 12, 60, 21], [2, 4, 7, 50, 10, 10, 44, 9]]


def logits(resident, adapters=()):
    return np.array(resident.logits(resident.hidden(mx.array(TOKENS), adapters)), np.float64)


def test_the_bare_base_is_the_model_itself(resident, plain):
    np.testing.assert_allclose(logits(resident), [plain(row) for row in TOKENS], atol=1e-5)
    assert (resident.hidden_size, resident.vocab_size) == (32, 64)
    assert resident.end_tokens == {1, 5}


@pytest.mark.parametrize("factor", [0.99, math.inf, math.nan])
def test_a_model_that_does_more_to_its_logits_than_we_know_is_refused(resident, tmp_path, monkeypatch, factor):
    # Log-probs without the factor would be wrong, and nothing would show it.
    require_own_logits(resident, tmp_path)
    kind, known = type(resident.model), type(resident.model).__call__
    monkeypatch.setattr(kind, "__call__", lambda self, tokens: factor * known(self, tokens))
    with pytest.raises(ConfigError, match="not its head's output"):
        require_own_logits(resident, tmp_path)


@pytest.mark.parametrize("error", [TypeError, AttributeError])
def test_a_model_whose_trunk_is_called_otherwise_is_refused(resident, tmp_path, monkeypatch, error):
    def fail(self, tokens, cache=None):
        raise error

    monkeypatch.setattr(type(resident.trunk), "__call__", fail)
    with pytest.raises(ConfigError, match="not its head's output"):
        require_own_logits(resident, tmp_path)


def test_adapters_are_worn_for_one_call_only(resident, adapter):
    before = logits(resident)
    assert np.abs(logits(resident, (adapter,)) - before).max() > 0.1
    np.testing.assert_array_equal(logits(resident), before)


def test_adapters_are_taken_off_after_an_error(resident, adapter):
    before = logits(resident)
    with pytest.raises(ValueError, match="index"):
        resident.hidden("no tokens", (adapter,))
    np.testing.assert_array_equal(logits(resident), before)


def test_fold_equals_stack(new_resident, adapter, make_adapter):
    resident, folded = new_resident(), new_resident()
    actor = make_adapter(resident.maps, 21)
    folded.fold(adapter)
    np.testing.assert_allclose(logits(folded), logits(resident, (adapter,)), atol=1e-5)
    np.testing.assert_allclose(logits(folded, (actor,)), logits(resident, (adapter, actor)), atol=1e-5)


def test_share_folds_in_dense_fp32_and_stacks_elsewhere(new_resident, adapter):
    dense, quantized = new_resident("base4"), new_resident("base4", dense=False)
    for resident in (dense, quantized):
        resident.share(adapter)
    assert dense.shared == ()
    (kept,) = quantized.shared
    assert kept.scale == adapter.scale
    assert all(mx.array_equal(kept.params[name], value).item() for name, value in adapter.params.items())
    np.testing.assert_allclose(logits(dense), logits(quantized), atol=2e-4)


def test_quantized_and_dense_compute_are_the_same_numbers(new_resident, adapter):
    dense, quantized = new_resident("base4"), new_resident("base4", dense=False)
    np.testing.assert_allclose(logits(dense), logits(quantized), atol=2e-4)
    np.testing.assert_allclose(logits(dense, (adapter,)), logits(quantized, (adapter,)), atol=2e-4)


def test_dense_weights_are_the_stored_codes_times_their_scales(store, new_resident):
    # w = code · scale + bias by group of 32 along the input, exact in fp32 (4-bit codes, bf16 scales and biases).
    stored = mx.load(str(store / "base4" / "model.safetensors"))
    name = "model.layers.1.mlp.down_proj"
    packed = np.array(stored[f"{name}.weight"])
    codes = np.stack([(packed >> (4 * i)) & 15 for i in range(8)], axis=-1).reshape(packed.shape[0], -1)
    scales, biases = (
        np.repeat(np.array(stored[f"{name}.{part}"].astype(mx.float32)), 32, axis=1) for part in ("scales", "biases")
    )
    np.testing.assert_allclose(new_resident("base4").maps[name].base.weight, codes * scales + biases, rtol=1e-6)


def test_bfloat16_compute_stays_near(new_resident, plain):
    found = logits(new_resident(dtype=mx.bfloat16))
    exact = np.array([plain(row) for row in TOKENS])
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.999


def test_load_policy_wears_the_policys_adapter(store, resident):
    sft = open_artifact(store / "sft")
    (adapter,) = policy_adapters(sft)
    np.testing.assert_allclose(logits(load_policy(sft)), logits(resident, (adapter,)), atol=1e-5)


def test_load_policy_of_a_merged_model_loads_that_model(store, tmp_path, make_base):
    base = make_base(tmp_path / "base")
    with publish(tmp_path / "merged", "policy", producer="align-sft", config={}, inputs={"base": base}) as draft:
        for number, file in enumerate(sorted(base.path.iterdir())):
            if not file.name.startswith("manifest"):
                draft.file(file.name, role=f"file_{number}").write_bytes(file.read_bytes())
        draft.details = {
            "method": "sft",
            "form": "merged",
            "format": "chosen",
            "adapters": [],
            "merge": {"bits": 0, "kl": 0.0, "perplexity_before": 2.0, "perplexity_after": 2.0},
        }
    model, _ = load_model(base.path)
    model.set_dtype(mx.float32)
    found = logits(load_policy(open_artifact(tmp_path / "merged")))
    np.testing.assert_allclose(found, np.array(model(mx.array(TOKENS))), atol=1e-5)


def test_the_templates_end_of_turn_ends_a_response_even_if_the_config_does_not_say_so(tmp_path, make_base):
    # Gemma 1's config lists <eos> (1) alone; its template ends a turn with <end_of_turn> (here 5).
    resident = load_base(make_base(tmp_path / "base", eos_token_id=1).path)
    assert resident.end_tokens == {1, 5}
    assert encode_turn(resident.tokenizer, "w0", "w2 w3", resident.end_tokens).response == (11, 12, 5)


def test_a_base_without_chat_template_is_refused(tmp_path, make_base):
    base = make_base(tmp_path / "bare", template=None)
    with pytest.raises(ConfigError, match="chat template"):
        load_base(base.path)


def test_no_parameter_of_the_base_is_trainable(resident):
    assert not tree_flatten(resident.model.trainable_parameters())


@pytest.mark.parametrize("form", ["dense", "quantized"])
def test_an_outfit_is_what_the_adapters_do_together(new_resident, make_adapter, form):
    """For many small passes: shared and own adapters as one pair a map."""
    resident = new_resident("base4", dense=form == "dense")
    shared, own = make_adapter(resident.maps, 4), make_adapter(resident.maps, 5).scaled(0.7)
    resident.shared = (shared,)
    expected = logits(resident, (own,))
    np.testing.assert_allclose(logits(resident, resident.outfit((own,))), expected, atol=2e-5)
    bare = logits(resident)
    assert np.abs(bare - expected).max() > 0.1
    np.testing.assert_allclose(logits(resident, resident.outfit(())), bare, atol=2e-5)


def test_the_outfit_of_a_bare_base_is_nothing(resident):
    assert resident.outfit(()).adapters == ()
