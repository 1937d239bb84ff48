import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.kl import k1, k3


def test_single_tokens_by_hand():
    # log p = −1, log q = −2: k1 = 1; d = −1: e⁻¹ + 1 − 1 = 0.36788. Equal: both 0.
    actor, reference = mx.array([[-1.0, -0.5]]), mx.array([[-2.0, -0.5]])
    np.testing.assert_allclose(k1(actor, reference), [[1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(k3(actor, reference), [[np.exp(-1), 0.0]], atol=1e-6)


@pytest.mark.parametrize("estimator", [k1, k3])
def test_the_expectation_is_the_divergence(estimator):
    # Over all tokens, weighted by the actor's own probabilities: Σ p (log p − log q), in float64.
    rng = np.random.default_rng(0)
    p, q = (e / e.sum() for e in np.exp(rng.normal(size=(2, 50))))
    divergence = (p * np.log(p / q)).sum()
    values = np.array(estimator(mx.array(np.log(p)[None], mx.float32), mx.array(np.log(q)[None], mx.float32)))[0]
    assert (p * values).sum() == pytest.approx(divergence, abs=1e-5)


def test_k3_is_never_negative():
    # e^d ≥ 1 + d, up to fp32's rounding of numbers near 1.
    d = np.concatenate([np.linspace(-8, 8, 1001), np.linspace(-1e-3, 1e-3, 1001)])
    values = k3(mx.zeros((1, d.size)), mx.array(d[None], mx.float32))
    assert values.min().item() >= -1.2e-7


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="ref_logprobs_BT"):
        k3(mx.zeros((1, 2)), mx.zeros((2, 1)))
