"""Custom gradients, line 4 of algorithms.md and `fastmath`: finite differences for each, over all that they meet."""

import math
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import align_mlx
from align_mlx import fastmath
from align_mlx.adapters import Adapter
from align_mlx.batching import Batch
from align_mlx.logprobs import response_stats
from align_mlx.recompute import recompute_blocks
from align_mlx.softmax import BLOCKS, Blocks
from conformance.reference import finite_differences, logprobs, transformer
from conformance.specimen import as_lora, float64, make, specimen
from tiny.models import VARIANTS

GELU = np.vectorize(lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2.0)))
EVERYWHERE = np.concatenate([np.linspace(-30, 30, 241), [-86.0, -60.0, 60.0, 80.0, 0.0, 1e-6, -1e-6]])


def slopes(function, x):
    """d Σ f / dx, one number at a time."""
    step = 1e-6 * np.maximum(1.0, np.abs(x))
    return (function(x + step) - function(x - step)) / (2 * step)


def test_every_custom_gradient_is_tested_here():
    """Deliverable 2: a custom gradient in a new place needs a test in this file."""
    sources = Path(align_mlx.__file__).parent.glob("*.py")
    tested = {"fastmath.py", "recompute.py", "softmax.py"}
    assert {path.name for path in sources if "custom_function" in path.read_text()} <= tested


@pytest.mark.parametrize(
    ("ours", "exact", "relative"), [(fastmath.exp, np.exp, True), (fastmath.gelu, GELU, False)], ids=["exp", "gelu"]
)
def test_elementwise(ours, exact, relative):
    """Fast exp and gelu: values and slopes against the exact functions, to what fp32 knows of x."""
    x = EVERYWHERE.astype(np.float32).astype(np.float64)
    cotangent = np.random.default_rng(0).normal(size=x.shape)
    value, grad = mx.vjp(ours, [mx.array(x, mx.float32)], [mx.array(cotangent, mx.float32)])
    slope = cotangent * slopes(exact, x)
    # An x known to 6e-8 of itself gives an e^x known to 6e-8 |x| of itself, and an x Φ(x) to 6e-8 |x|.
    known = 1e-6 + 1e-7 * np.abs(x)
    for found, expected in ((value[0], exact(x)), (grad[0], slope)):
        error = np.abs(np.array(found, np.float64) - expected)
        assert (error <= known * (np.abs(expected) if relative else np.maximum(1.0, np.abs(cotangent)))).all()


def test_log_sum_exp():
    """Fast log-sum-exp: log Σ e^x, and the softmax as its gradient, shifted by anything."""
    x = np.random.default_rng(1).normal(0, 5, (6, 40)) + np.array([[0.0], [300.0], [-300.0], [5.0], [80.0], [-80.0]])
    x = x.astype(np.float32).astype(np.float64)
    cotangent = np.random.default_rng(2).normal(size=6)
    value, grad = mx.vjp(fastmath.logsumexp, [mx.array(x, mx.float32)], [mx.array(cotangent, mx.float32)])

    def exact(at):
        top = at["x"].max(axis=1)
        return top + np.log(np.exp(at["x"] - top[:, None]).sum(axis=1))

    np.testing.assert_allclose(value[0], exact({"x": x}), rtol=2e-7, atol=2e-6)
    slope = finite_differences.gradient(lambda at: float(exact(at) @ cotangent), {"x": x})["x"]
    np.testing.assert_allclose(grad[0], slope, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("temperature", "blocks"), [(1.0, BLOCKS), (0.6, Blocks(5, 13))], ids=["whole", "blocks"])
@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_logprobs_and_entropy_by_their_states(family, tied, temperature, blocks):
    """Line 4: the gradient of log-probs and entropy by the hidden states, for each kind of head, and 0 elsewhere."""
    model, rng = specimen(family, tied), np.random.default_rng(3)
    tokens = rng.integers(0, 64, (2, 9))
    starts, lengths = [2, 4], [7, 3]
    mask = np.array([[float(t < n) for t in range(7)] for n in lengths])
    batch = Batch(mx.array(tokens, mx.int32), mx.array(starts, mx.int32), mx.array(mask, mx.float32))
    before = rng.normal(0, 1.5, (2, 8, 16)).astype(np.float32).astype(np.float64)  # [b, t] before answer token t
    cotangents = rng.normal(size=(2, 2, 7))

    def loss(states):
        stats = response_stats(model.resident, states, batch, temperature=temperature, entropy=True, blocks=blocks)
        both = mx.stack([stats.logprobs_BT, stats.entropy_BT])
        return (both * mx.array(cotangents, mx.float32)).sum()

    def exact(at):
        total = 0.0
        for b, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            states = at["before"][b, :length]
            logp = logprobs.log_softmax(transformer.head(model.weights, model.config, states) / temperature)
            answer = tokens[b, start : start + length]
            total += cotangents[0, b, :length] @ logprobs.of_response(logp, answer)
            total += cotangents[1, b, :length] @ logprobs.entropy(logp)
        return total

    value, grad = mx.value_and_grad(loss)(mx.array(before, mx.float32))
    slope = finite_differences.gradient(exact, {"before": before})["before"]
    assert value.item() == pytest.approx(exact({"before": before}), abs=5e-5)
    np.testing.assert_allclose(grad, slope, rtol=0, atol=2e-5 * np.abs(slope).max())
    assert not slope[0, 7:].any()
    assert not slope[1, 3:].any()


@pytest.mark.parametrize("family", ["gemma", "gemma3_text", "llama"])
def test_an_mlp_in_parts(family):
    """Line 4: 9 tokens go through each MLP 4, 4 and 1 at a time; the gradient reaches all adapters of both blocks."""
    model, rng = make(family), np.random.default_rng(4)
    recompute_blocks(model.resident.model, 4)
    adapter = model.adapter(5)
    ids = rng.integers(0, 64, 9)
    cotangent = rng.normal(size=(9, 16))

    def loss(params):
        states = model.resident.hidden(mx.array(ids[None], mx.int32), (Adapter(params, adapter.scale),))
        return (states[0] * mx.array(cotangent, mx.float32)).sum()

    def exact(params):
        worn = [replace(as_lora(adapter), arrays=params)]
        return float((transformer.hidden(model.weights, model.config, list(ids), worn) * cotangent).sum())

    params = float64(adapter.params)
    _, grads = mx.value_and_grad(loss)(adapter.params)
    for name in params:
        direction = {name: rng.normal(size=params[name].shape)}
        found = float((np.array(grads[name], np.float64) * direction[name]).sum())
        size = np.linalg.norm(np.array(grads[name], np.float64)) * np.linalg.norm(direction[name])
        assert found == pytest.approx(finite_differences.along(exact, params, direction), abs=2e-5 * size), name
        assert size > 0.0
