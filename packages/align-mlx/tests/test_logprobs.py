from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_mlx.adapters import Adapter
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.logprobs import policy_stats, response_kl, response_stats
from align_mlx.prefix import states
from align_mlx.softmax import Blocks


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In float64, shifted by the maximum."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_stats_equal_a_float64_softmax_of_the_plain_model(resident, plain, rows, temperature):
    batch = pad(rows)
    stats = policy_stats(resident, (), batch, temperature=temperature, entropy=True)
    found, entropy = np.array(stats.logprobs_BT), np.array(stats.entropy_BT)
    for i, row in enumerate(rows):
        start, n = len(row.prompt), len(row.response)
        logp = log_softmax(plain(row.ids)[start - 1 : start - 1 + n] / temperature)
        np.testing.assert_allclose(found[i, :n], logp[range(n), row.response], atol=5e-5)
        np.testing.assert_allclose(entropy[i, :n], -(np.exp(logp) * logp).sum(axis=-1), atol=5e-5)
        assert not found[i, n:].any()
        assert not entropy[i, n:].any()


def test_padding_and_company_do_not_matter(resident, adapter, rows):
    together = np.array(policy_stats(resident, (adapter,), pad(rows)).logprobs_BT)
    for i, row in enumerate(rows):
        for pad_token in (0, 63):
            alone = np.array(policy_stats(resident, (adapter,), pad([row], pad_token)).logprobs_BT)
            n = len(row.response)
            np.testing.assert_allclose(alone[0, :n], together[i, :n], atol=2e-5)


@pytest.mark.parametrize("blocks", [Blocks(1, 64), Blocks(7, 5), Blocks(100_000, 100_000)])
def test_block_size_does_not_matter(resident, rows, blocks):
    batch = pad(rows[:3])
    states_BSD = states(resident, batch)
    whole = response_stats(resident, states_BSD, batch, entropy=True)
    parts = response_stats(resident, states_BSD, batch, entropy=True, blocks=blocks)
    np.testing.assert_allclose(parts.logprobs_BT, whole.logprobs_BT, atol=1e-6)
    np.testing.assert_allclose(parts.entropy_BT, whole.entropy_BT, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kl_is_that_of_the_plain_models_distributions(resident, adapter, plain, rows, temperature):
    """Σ_v p (log p − log q) in float64 at each response token, p with the adapter, q without; 0 on padding."""
    batch = pad(rows)
    both = [states(resident, batch, worn) for worn in ((adapter,), ())]
    found = np.array(response_kl(resident, *both, batch, temperature=temperature))
    cut = response_kl(resident, *both, batch, temperature=temperature, blocks=Blocks(7, 5))
    np.testing.assert_allclose(cut, found, rtol=2e-6, atol=2e-6)
    assert not np.array(response_kl(resident, both[1], both[1], batch)).any()
    for i, row in enumerate(rows):
        start, n = len(row.prompt), len(row.response)
        mine = np.array(resident.logits(resident.hidden(mx.array([row.ids]), (adapter,)))[0], np.float64)
        logp, logq = (log_softmax(z[start - 1 : start - 1 + n] / temperature) for z in (mine, plain(row.ids)))
        np.testing.assert_allclose(found[i, :n], (np.exp(logp) * (logp - logq)).sum(axis=-1), atol=2e-5)
        assert not found[i, n:].any()
    assert found.max() > 0.01


def objective(resident, states_BSD: np.ndarray, rows, weights, temperature: float) -> float:
    """Σ w·log p + 0.3 Σ H in float64 from the states before each token, written from the definition."""
    embedding = np.array(resident.model.model.embed_tokens.weight, np.float64)
    total = 0.0
    for i, row in enumerate(rows):
        for t, token in enumerate(row.response):
            logp = log_softmax(embedding @ states_BSD[i, t] / temperature)
            total += weights[i, t] * logp[token] - 0.3 * (np.exp(logp) * logp).sum()
    return total


def test_gradient_equals_finite_differences(resident):
    rows = [Tokens((9, 10, 11), (12, 5)), Tokens((13,), (14, 15, 16))]
    batch, temperature = pad(rows), 0.8
    before = states(resident, batch)
    weights = np.random.default_rng(2).normal(size=batch.mask_BT.shape)

    def loss(states_BSD):
        stats = response_stats(resident, states_BSD, batch, temperature=temperature, entropy=True)
        return (stats.logprobs_BT * mx.array(weights, mx.float32)).sum() + 0.3 * stats.entropy_BT.sum()

    grad = np.array(mx.grad(loss)(before))
    point, h = np.array(before, np.float64), 1e-5
    rng = np.random.default_rng(3)
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]  # the states that predict a response token
    for i, position in places:
        for d in rng.choice(32, 6, replace=False):
            high, low = point.copy(), point.copy()
            high[i, position, d] += h
            low[i, position, d] -= h
            change = objective(resident, high, rows, weights, temperature)
            change -= objective(resident, low, rows, weights, temperature)
            assert grad[i, position, d] == pytest.approx(change / (2 * h), rel=1e-3, abs=1e-4)
    used = np.zeros(grad.shape[:2], bool)
    used[tuple(zip(*places, strict=True))] = True
    assert not grad[~used].any()


def test_gradient_of_an_adapter_equals_a_finite_difference(resident, adapter, rows):
    batch = pad(rows[:3])
    name = "model.layers.0.self_attn.v_proj.lora_b"

    def total(b):
        worn = Adapter({**adapter.params, name: b}, adapter.scale)
        return policy_stats(resident, (worn,), batch).logprobs_BT.sum()

    grad = mx.grad(total)(adapter.params[name])
    # Uphill, so that the slope stands out of fp32's noise, and aside, so that it is not only a length.
    aside = mx.random.normal(grad.shape, key=mx.random.key(9))
    direction = grad / mx.linalg.norm(grad) + aside / mx.linalg.norm(aside)
    slope = (grad * direction).sum().item()
    h = 2e-3
    high, low = (total(adapter.params[name] + s * h * direction).item() for s in (1, -1))
    assert slope == pytest.approx((high - low) / (2 * h), rel=0.005)


def test_kl_reads_each_policy_with_its_own_head(resident, adapter, rows):
    """Another base's states go through its own head: here one with scaled logits; Σ_v p (log p − log q) in float64."""
    other = replace(resident)
    other.__dict__["head"] = replace(resident.head, scale=0.5)
    batch = pad(rows[:2])
    both = [states(resident, batch, worn) for worn in ((adapter,), ())]
    found = np.array(response_kl(resident, *both, batch, reference=other))
    logits = [np.array(resident.logits(s), np.float64)[:, :-1] for s in both]
    logp, logq = log_softmax(logits[0]), log_softmax(0.5 * logits[1])
    expected = (np.exp(logp) * (logp - logq)).sum(axis=-1) * np.array(batch.mask_BT)
    np.testing.assert_allclose(found, expected, atol=5e-5)
    assert expected.max() > 0.01
