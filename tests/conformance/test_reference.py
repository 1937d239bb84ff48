"""The oracle itself: it stands alone, and its pieces satisfy closed forms."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.reference import bradley_terry, finite_differences, gae, grpo, kl, logprobs, ppo, sampling, transformer
from conformance.reference.optimizer import AdamW, clip

FILES = sorted((Path(__file__).parent / "reference").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shares_nothing_with_the_implementation(path):
    """Deliverable 2: NumPy and the standard library alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            assert top == "numpy" or top in sys.stdlib_module_names or name.startswith("conformance.reference"), name


def test_finite_differences_of_a_polynomial():
    # d/dx (x³ + 2xy) = 3x² + 2y = 12 + 6 and d/dy = 2x = 4 at (2, 3).
    found = finite_differences.gradient(lambda p: float((p["x"] ** 3 + 2 * p["x"] * p["y"])[0]), at := point(2.0, 3.0))
    assert (found["x"][0], found["y"][0]) == pytest.approx((18.0, 4.0), rel=1e-9)
    slope = finite_differences.along(lambda p: float(p["y"][0] ** 5), at, {"y": np.array([2.0])})
    assert slope == pytest.approx(2 * 5 * 81, rel=1e-9)


def point(x, y):
    return {"x": np.array([x]), "y": np.array([y])}


def test_transformer_is_causal():
    rng = np.random.default_rng(0)
    config = {"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"num_key_value_heads": 1, "rms_norm_eps": 1e-6}
    shapes = {"self_attn.q_proj": (8, 8), "self_attn.k_proj": (4, 8), "self_attn.v_proj": (4, 8)}
    shapes |= {"self_attn.o_proj": (8, 8), "mlp.gate_proj": (6, 8), "mlp.up_proj": (6, 8), "mlp.down_proj": (8, 6)}
    weights = {f"model.layers.0.{k}.weight": rng.normal(size=s) for k, s in shapes.items()}
    weights |= {f"model.layers.0.{k}.weight": np.ones(8) for k in ("input_layernorm", "post_attention_layernorm")}
    weights |= {"model.norm.weight": np.ones(8), "model.embed_tokens.weight": rng.normal(size=(11, 8))}
    whole = transformer.logits(weights, config, [3, 1, 4, 1, 5])
    np.testing.assert_allclose(whole[:3], transformer.logits(weights, config, [3, 1, 4]), atol=1e-12)
    assert np.abs(whole[1] - whole[3]).max() > 1e-3  # the same token elsewhere is not the same state


def test_rotation_keeps_what_is_relative():
    # RoPE: the product of a query and a key depends on the distance between their places alone.
    rng = np.random.default_rng(1)
    q, k = (np.repeat(rng.normal(size=(1, 1, 8)), 6, axis=0) for _ in range(2))
    products = transformer.rotate(q, 100.0)[:, 0] @ transformer.rotate(k, 100.0)[:, 0].T
    np.testing.assert_allclose(np.diag(products, 2), products[0, 2], atol=1e-12)
    assert abs(products[0, 2] - products[0, 3]) > 1e-3


def test_uniform_distribution():
    logp = logprobs.log_softmax(np.full((2, 8), 3.0))
    assert logprobs.entropy(logp) == pytest.approx([np.log(8)] * 2)
    assert kl.exact(logp, logp) == pytest.approx([0.0, 0.0])


def test_kl_estimators_are_unbiased():
    # E_p[k1] = E_p[k3] = KL, by summing over all outcomes.
    logp, logq = (logprobs.log_softmax(np.random.default_rng(i).normal(size=6)) for i in (0, 1))
    for estimator in (kl.k1, kl.k3):
        assert (np.exp(logp) * estimator(logp, logq)).sum() == pytest.approx(kl.exact(logp, logq))


def test_gae_at_both_ends():
    # λ = 1: discounted return − value; λ = 0: one step. γ = ½, rewards 1, 2, 4, values 3, 5, 7:
    # 1 + ½·2 + ¼·4 − 3 = 0; 2 + ½·4 − 5 = −1; 4 − 7 = −3;  and 1 + 2.5 − 3; 2 + 3.5 − 5; −3.
    rewards, values = np.array([1.0, 2, 4]), np.array([3.0, 5, 7])
    np.testing.assert_allclose(gae.advantages(rewards, values, 0.5, 1.0), [0, -1, -3])
    np.testing.assert_allclose(gae.advantages(rewards, values, 0.5, 0.0), [0.5, 0.5, -3])


def test_surrogate_on_its_four_sides():
    # min(r A, clip(r) A) of PPO, eq. 7, with 1 − ε = 0.8 and 1 + ε = 1.3.
    found = [ppo.surrogate(r, a, 0.2, 0.3) for r, a in ((2.0, 1.0), (0.5, 1.0), (2.0, -1.0), (0.5, -1.0))]
    assert found == pytest.approx([1.3, 0.5, -2.0, -0.8])


def test_gspo_ratio_is_a_geometric_mean():
    # Ratios 4 and 1 over two tokens: √4 = 2, below 1 + 9.
    old = [np.zeros(2)]
    loss = grpo.loss([np.log([4.0, 1.0])], old, [3.0], kind="gspo", clip=(9.0, 9.0), max_length=7)
    assert loss == pytest.approx(-6.0)


def test_splitmix():
    # The first output of SplitMix64 seeded with 0, as published: the state moves by the golden step, then is mixed.
    assert sampling.mix(sampling.GOLDEN) == 0xE220A8397B1DCDAF


def test_best_temperature():
    # Margins ±2 with right : wrong = 3 : 1: σ(2 / T) = ¾, so T = 2 / ln 3.
    assert bradley_terry.best_temperature(np.array([2.0, 2.0, 2.0, -2.0])) == pytest.approx(2 / np.log(3), rel=1e-6)


def test_adam_begins_with_a_step_of_its_rate():
    params = {"x": np.array([1.0, 1.0])}
    after = AdamW(decay=0.5).step(params, {"x": np.array([3.0, -0.01])}, {"x": 0.1})
    np.testing.assert_allclose(after["x"], [1 - 0.1 - 0.05, 1 + 0.1 - 0.05], rtol=1e-5)
    assert clip({"a": np.array([3.0]), "b": np.array([4.0])}, 1.0)["b"] == pytest.approx([0.8])
