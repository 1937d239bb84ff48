"""Rollout and log-probs, lines 1 to 4 of algorithms.md, against the float64 transformer."""

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.batching import pad
from align_mlx.logprobs import policy_stats, response_stats
from align_mlx.perplexity import perplexity
from align_mlx.softmax import BLOCKS, Blocks, target_statistics
from conformance.reference import logprobs, sft, transformer
from conformance.reference.transformer import Lora
from conformance.slopes import assert_gradients
from conformance.specimen import as_lora, assert_close, draw_rows, float64, identity, ragged, specimen
from tiny.models import VARIANTS

ROWS = draw_rows(1, [3, 17, 1, 5], [4, 12, 7, 1])


def expected(model, adapters=(), temperature=1.0, rows=ROWS):
    """log p [T, V] of each row."""
    loras = [as_lora(a) for a in adapters]
    return [logprobs.distributions(model.weights, model.config, r.prompt, r.response, loras, temperature) for r in rows]


def of_tokens(distributions, rows=ROWS):
    return [logprobs.of_response(d, r.response) for d, r in zip(distributions, rows, strict=True)]


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_logprobs_and_entropy_of_every_family(family, tied):
    """Line 2: conditioned on the prompt, fp32 log-softmax, scaled by the temperature; soft caps, tied or own head."""
    model = specimen(family, tied)
    adapters = (model.adapter(2), model.adapter(3))
    distributions = expected(model, adapters, 0.7)
    stats = policy_stats(model.resident, adapters, pad(ROWS), temperature=0.7, entropy=True)
    assert_close(ragged(stats.logprobs_BT, ROWS), of_tokens(distributions), atol=2e-5)
    assert_close(ragged(stats.entropy_BT, ROWS), [logprobs.entropy(d) for d in distributions], atol=2e-5)


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_without_adapters_it_is_the_base(family, tied):
    """Line 2, KL: the reference is the same base with no adapter on it, also right after another role wore one."""
    model = specimen(family, tied)
    policy_stats(model.resident, (model.adapter(2),), pad(ROWS))
    row = ROWS[0]
    bare = np.array(model.resident.model(mx.array([row.ids]))[0], np.float64)
    exact = transformer.logits(model.weights, model.config, row.ids)
    np.testing.assert_allclose(bare, exact, rtol=0, atol=5e-5)  # nothing stays on
    found = ragged(policy_stats(model.resident, (), pad(ROWS)).logprobs_BT, ROWS)
    assert_close(found, of_tokens(expected(model)), atol=2e-5)


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_gradient_reaches_every_adapter_array(family, tied):
    """Line 2 and LoRA: the gradient of log-probs and entropy through head, norm, every block, A and B."""
    model = specimen(family, tied)
    adapter, rows = model.adapter(2), ROWS[:2]
    weights = np.random.default_rng(4).normal(size=(2, *pad(rows).mask_BT.shape))

    def loss(params):
        stats = policy_stats(
            model.resident, (Adapter(params, adapter.scale),), pad(rows), temperature=0.7, entropy=True
        )
        both = mx.stack([stats.logprobs_BT, stats.entropy_BT])
        return (both * mx.array(weights, mx.float32)).sum()

    def exact(params):
        total = 0.0
        for i, row in enumerate(rows):
            lora, n = Lora(params, adapter.scale), len(row.response)
            d = logprobs.distributions(model.weights, model.config, row.prompt, row.response, [lora], 0.7)
            total += (weights[0, i, :n] * logprobs.of_response(d, row.response)).sum()
            total += (weights[1, i, :n] * logprobs.entropy(d)).sum()
        return total

    assert_gradients(mx.grad(loss)(adapter.params), exact, float64(adapter.params))


def test_a_fresh_adapter_changes_nothing():
    """LoRA: B is zero and A uniform within ±1/√in, on the last blocks alone; the scale is alpha / rank."""
    model = specimen("gemma")
    adapter = lora.fresh(model.resident.maps, LoraSpec(rank=4, alpha=6.0, layers=1), mx.random.key(0))
    assert adapter.scale == 1.5
    assert {name.split(".layers.")[1][0] for name in adapter.params} == {"1"}
    with_it, without = (policy_stats(model.resident, worn, pad(ROWS)).logprobs_BT for worn in ((adapter,), ()))
    np.testing.assert_array_equal(with_it, without)
    for name, value in float64(adapter.params).items():
        if name.endswith("lora_a"):
            bound = value.shape[0] ** -0.5
            assert 0.8 * bound < np.abs(value).max() <= bound
            assert value.std() == pytest.approx(bound / 3**0.5, rel=0.3)
        else:
            assert not value.any()


def test_the_prompt_matters():
    """Line 2: the same answer to another prompt has another likelihood, on both sides alike."""
    model = specimen("gemma")
    one, other = draw_rows(1, [4, 4], [6, 6])
    swapped = type(one)(other.prompt, one.response)
    rows = [one, swapped]
    found = ragged(policy_stats(model.resident, (), pad(rows)).logprobs_BT, rows)
    assert_close(found, of_tokens(expected(model, rows=rows), rows), atol=2e-5)
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_padding_is_zero_and_finite():
    """Line 3: nothing but 0 where the mask is 0, whatever the padding would score."""
    model = specimen("gemma")
    stats = policy_stats(model.resident, (), pad(ROWS), entropy=True)
    mask = np.array(pad(ROWS).mask_BT) > 0
    assert mask.sum() == sum(len(row.response) for row in ROWS)
    assert not np.array(stats.logprobs_BT)[~mask].any()
    assert not np.array(stats.entropy_BT)[~mask].any()


@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_softmax_keeps_fp32(scale):
    """Line 2: log-softmax in fp32; half precision would be off by 1e-3 of the logits, naive exponents by everything."""
    model = specimen("llama", False)
    states = np.random.default_rng(5).normal(size=(1, 17, 16)) * scale
    row = draw_rows(6, [8], [16])
    logits = states[0] @ model.weights["lm_head.weight"].T
    exact = logprobs.log_softmax(logits[:16])  # the last state has read the whole answer and predicts nothing of it
    stats = response_stats(model.resident, mx.array(states, mx.float32), pad(row), entropy=True)
    # Logits of size z are known to 6e-8 z in fp32 (half precision: 5e-4 z), and so are log p and H.
    tolerance, found = 3e-7 * np.abs(logits).max() + 2e-6, logprobs.of_response(exact, row[0].response)
    np.testing.assert_allclose(stats.logprobs_BT[0], found, rtol=0, atol=tolerance)
    np.testing.assert_allclose(stats.entropy_BT[0], logprobs.entropy(exact), rtol=0, atol=tolerance)


def test_log_softmax_of_given_logits():
    """Lines 2 and 4: log p(target) = z_y − log Σ e^z and H = −Σ p log p, in blocks or whole."""
    logits = np.random.default_rng(7).normal(0, 4, (9, 50)).astype(np.float32)
    targets = np.arange(9) * 5
    exact = logprobs.log_softmax(logits.astype(np.float64))
    for blocks in (BLOCKS, Blocks(4, 7)):
        for gradient in (True, False):
            settings = {"entropy": True, "gradient": gradient, "blocks": blocks}
            chosen, entropy = target_statistics(identity(50), mx.array(logits), mx.array(targets), **settings)
            np.testing.assert_allclose(chosen, exact[np.arange(9), targets], rtol=0, atol=5e-6)
            np.testing.assert_allclose(entropy, logprobs.entropy(exact), rtol=0, atol=5e-6)


def test_perplexity_is_of_all_tokens():
    """SFT and evaluation: exp of the mean over tokens, not over answers, end tokens included."""
    model = specimen("qwen3", False)
    adapter = model.adapter(2)
    found = perplexity(model.resident, (adapter,), ROWS, token_budget=64)
    assert found == pytest.approx(sft.perplexity(of_tokens(expected(model, (adapter,)))), rel=1e-5)
