"""The vectorisable functions against float64 oracles from the standard library."""

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models.gemma import MLP

from align_mlx import compute, fastmath

on_cpu = pytest.mark.skipif(compute.backend() != "cpu", reason="the fast functions are for CPUs")
ERF = np.vectorize(math.erf)


def cdf(x):
    return 0.5 * (1 + ERF(x / math.sqrt(2)))


def grid(low, high, n=20001):
    return np.linspace(low, high, n).astype(np.float32)


@on_cpu
def test_gelu_is_exact_to_fp32():
    x = grid(-9, 9)
    wide = x.astype(np.float64)
    # x Φ(x); Φ has an absolute error of a few 2^-24, which x scales.
    np.testing.assert_allclose(np.array(fastmath.gelu(mx.array(x))), wide * cdf(wide), atol=2e-6)


@on_cpu
def test_gelu_slope_is_exact_to_fp32():
    x = grid(-9, 9)
    wide = x.astype(np.float64)
    slope = mx.grad(lambda v: fastmath.gelu(v).sum())(mx.array(x))
    # (x Φ(x))' = Φ(x) + x φ(x)
    exact = cdf(wide) + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose(np.array(slope), exact, atol=6e-7)


@on_cpu
def test_exp_is_exact_to_fp32():
    x = grid(-80, 80)
    # An error of half a unit in x · log2(e) ≈ 115 is 4e-6; the function adds little to it.
    np.testing.assert_allclose(np.array(fastmath.exp(mx.array(x))), np.exp(x.astype(np.float64)), rtol=6e-6)
    small = grid(-1, 1)
    np.testing.assert_allclose(np.array(fastmath.exp(mx.array(small))), np.exp(small.astype(np.float64)), rtol=3e-7)
    assert fastmath.exp(mx.array([0.0])).item() == 1.0
    assert fastmath.exp(mx.array([-1e9, -math.inf])).tolist() == [0.0, 0.0]


@on_cpu
def test_logsumexp_and_its_gradient():
    x = np.random.default_rng(0).normal(size=(7, 300)).astype(np.float32) * 8
    wide = x.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    exact = np.log(np.exp(wide - top).sum(axis=-1)) + top[:, 0]
    np.testing.assert_allclose(np.array(fastmath.logsumexp(mx.array(x))), exact, rtol=1e-6)
    weight = np.arange(7.0)
    found = mx.grad(lambda v: (fastmath.logsumexp(v) * mx.array(weight.astype(np.float32))).sum())(mx.array(x))
    # d lse / dx is softmax
    np.testing.assert_allclose(np.array(found), weight[:, None] * np.exp(wide - exact[:, None]), rtol=1e-5, atol=1e-7)


@on_cpu
def test_gradients_survive_compile_and_new_shapes():
    loss = mx.compile(mx.value_and_grad(lambda v: fastmath.logsumexp(fastmath.gelu(fastmath.exp(v))).sum()))
    plain = mx.value_and_grad(lambda v: mx.logsumexp(nn.gelu(mx.exp(v)), axis=-1).sum())
    for rows in (2, 5):
        x = mx.random.normal((rows, 6), key=mx.random.key(rows))
        for found, exact in zip(loss(x), plain(x), strict=True):
            np.testing.assert_allclose(np.array(found), np.array(exact), rtol=1e-5, atol=1e-6)


def test_other_formats_take_the_exact_functions():
    x = mx.array([-1.0, 0.5, 2.0], mx.bfloat16)
    assert mx.array_equal(fastmath.gelu(x), nn.gelu(x))
    assert fastmath.exp(x).dtype == mx.bfloat16


def test_speed_up_changes_the_speed_and_not_the_weights():
    model = nn.Sequential(MLP(16, 32), nn.Linear(16, 4))
    x = mx.random.normal((3, 16), key=mx.random.key(0))
    before, names = model(x), [name for name, _ in model.named_modules()]
    fastmath.speed_up(model)
    assert [name for name, _ in model.named_modules()] == names
    np.testing.assert_allclose(np.array(model(x)), np.array(before), atol=1e-6)
