import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn

from align_contracts import open_artifact
from align_contracts.errors import KindError, VerificationError
from align_mlx.adapters import Adapter
from align_mlx.loading import load_policy
from align_sft import merge, train
from align_sft.config import MergeConfig


def test_a_dense_merge_is_the_policy(store):
    merge.run(MergeConfig(policy=store / "sft", bits=0, out=store / "merged0"))
    art = open_artifact(store / "merged0", kind="policy", deep=True)
    assert (art.details.form, art.details.adapters, art.details.merge.bits) == ("merged", (), 0)
    assert art.details.merge.kl < 1e-3  # bf16 rounding
    assert art.details.certificate == open_artifact(store / "sft").details.certificate is not None
    assert art.details.merge.perplexity_after == pytest.approx(art.details.merge.perplexity_before, rel=1e-2)
    ids = mx.array([[2, 7, 8, 9]])
    policy = load_policy(open_artifact(store / "sft"))
    model, _ = mlx_lm.load(str(art.path))
    expected = np.array(policy.logits(policy.hidden(ids)))
    np.testing.assert_allclose(np.array(model(ids).astype(mx.float32)), expected, atol=0.05 * np.abs(expected).max())
    with pytest.raises(KindError, match="merged already"):
        merge.run(MergeConfig(policy=store / "merged0", out=store / "twice"))


def test_the_measured_kl_is_that_of_the_two_models(store, make_config):
    """Independently: float64 softmax of mlx-lm's merged model against the policy's own logits."""
    train.run(make_config(store / "strong", learning_rate=0.1, max_steps=2))
    merge.run(
        MergeConfig(policy=store / "strong", bits=4, group_size=32, out=store / "merged4", max_kl=99.0, max_rows=1)
    )
    art, policy = open_artifact(store / "merged4"), load_policy(open_artifact(store / "strong"))
    assert art.manifest.quantization.bits == 4
    row = open_artifact(store / "data").read_jsonl("sft_validation")[0]
    turn = merge.encode_rows([row], policy, 512).tokens[0]
    model, _ = mlx_lm.load(str(art.path))
    model.set_dtype(mx.float32)
    ids, states = mx.array([turn.ids]), slice(len(turn.prompt) - 1, len(turn) - 1)
    p, q = (
        np.array(x, np.float64)[0, states] for x in (model(ids).astype(mx.float32), policy.logits(policy.hidden(ids)))
    )
    p, q = (x - np.log(np.exp(x).sum(axis=-1, keepdims=True)) for x in (p, q))
    kl = (np.exp(p) * (p - q)).sum(axis=-1).mean()
    assert art.details.merge.kl == pytest.approx(kl, rel=1e-2)
    assert kl > 1e-4


def test_a_lossy_merge_is_refused_unless_forced(store):
    config = MergeConfig(policy=store / "sft", bits=4, group_size=32, out=store / "lossy", max_kl=0.0)
    with pytest.raises(VerificationError, match="loses too much") as error:
        merge.run(config)
    assert error.value.exit_code == 3
    assert not config.out.exists()
    merge.run(config.model_copy(update={"force": True}))
    assert open_artifact(config.out).details.merge.kl > 0.0


def test_matrices_without_an_adapter_keep_their_codes(store, make_config):
    train.run(make_config(store / "few", lora_targets=("q_proj",), lora_layers=1, max_steps=2))
    merge.run(MergeConfig(policy=store / "few", bits=4, group_size=32, out=store / "few4", max_kl=99.0))
    base, merged = (mx.load(str(store / name / "model.safetensors")) for name in ("base", "few4"))
    changed = {name for name, value in base.items() if not mx.array_equal(value, merged[name])}
    assert changed <= {f"model.layers.1.self_attn.q_proj.{part}" for part in ("weight", "scales", "biases")}
    assert set(base) == set(merged)


def test_fold_by_hand():
    linear = nn.Linear(2, 1, bias=True)
    linear.weight, linear.bias = mx.array([[1.0, 2.0]]), mx.array([0.5])
    # W + 2 · (A B)ᵀ with A = (1, 3)ᵀ, B = (0.25): (1 + 0.5, 2 + 1.5)
    merged = merge.fold(linear, [(mx.array([[1.0], [3.0]]), mx.array([[0.25]]), 2.0)])
    assert merged.weight.tolist() == [[1.5, 3.5]]
    assert merged.bias.tolist() == [0.5]


def test_a_merge_that_overflows_is_refused(store, monkeypatch):
    """Base and adapter are finite, their sum is not a number of bf16: 3.4e38 rounds to infinity there."""
    honest = merge.policy_adapters

    def huge(policy):
        (adapter,) = honest(policy)
        a = next(name for name in adapter.params if name.endswith("lora_a"))
        name = a.removesuffix(".lora_a")
        one = mx.zeros_like(adapter.params[a])
        one[0, 0] = 1.0
        b = mx.zeros_like(adapter.params[f"{name}.lora_b"])
        b[0, 0] = 3.4e38 / adapter.scale
        return [Adapter({**adapter.params, a: one, f"{name}.lora_b": b}, adapter.scale)]

    monkeypatch.setattr(merge, "policy_adapters", huge)
    for bits in (0, 4):
        with pytest.raises(VerificationError, match=r"merged model holds weights .*1 inf of"):
            merge.run(MergeConfig(policy=store / "sft", bits=bits, group_size=32, out=store / "overflowing"))
        assert not (store / "overflowing").exists()
