"""The vectorisable functions against float64 oracles from the standard library."""

import math
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models import gemma
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


def test_logsumexp_of_nothing_is_minus_infinity():
    x = mx.array([[-math.inf, -math.inf], [-math.inf, 2.0]])
    assert fastmath.logsumexp(x).tolist() == [-math.inf, 2.0]


@on_cpu
def test_gradients_survive_compile_and_new_shapes():
    loss = mx.compile(mx.value_and_grad(lambda v: fastmath.logsumexp(fastmath.gelu(fastmath.exp(v))).sum()))
    plain = mx.value_and_grad(lambda v: mx.logsumexp(nn.gelu(mx.exp(v)), axis=-1).sum())
    for rows in (2, 5):
        x = mx.random.normal((rows, 6), key=mx.random.key(rows))
        for found, exact in zip(loss(x), plain(x), strict=True):
            np.testing.assert_allclose(np.array(found), np.array(exact), rtol=1e-5, atol=1e-6)


@on_cpu
def test_softmax_and_its_gradient():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(5, 40)).astype(np.float32) * 6, rng.normal(size=(5, 40)).astype(np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    exact = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.array(fastmath.softmax(mx.array(x))), exact, rtol=5e-6, atol=1e-12)
    found = mx.grad(lambda v: (fastmath.softmax(v) * mx.array(weight)).sum())(mx.array(x))
    # d Σ w p / dx_i = p_i (w_i − Σ w p)
    slope = exact * (weight - (exact * weight).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(np.array(found), slope, atol=2e-6)


def attend(queries, keys, values, scale, seen):
    """Attention in float64 with one loop a row and head; `seen` [B, H, T, S] numbers to add, −inf where unseen."""
    share = queries.shape[1] // keys.shape[1]
    out = np.zeros((*queries.shape[:3], values.shape[-1]))
    for b, h in np.ndindex(queries.shape[:2]):
        scores = scale * queries[b, h] @ keys[b, h // share].T + seen[b, h]
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[b, h] = powers / powers.sum(axis=-1, keepdims=True) @ values[b, h // share]
    return out


@on_cpu
@pytest.mark.parametrize("kind", ["none", "causal", "seen", "added"])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_attention_with_every_mask_and_shared_keys(kind, groups):
    rng = np.random.default_rng(groups)
    queries, keys, values = (rng.normal(size=s) for s in ((2, 4, 3, 8), (2, groups, 5, 8), (2, groups, 5, 6)))
    seen = rng.random((2, 1, 3, 5)) < 0.7
    seen[..., 0] = True
    added = {
        "none": np.zeros((2, 1, 3, 5)),
        "causal": np.where(np.arange(5) <= np.arange(2, 5)[:, None], 0.0, -np.inf)[None, None],  # the last 3 of 5
        "seen": np.where(seen, 0.0, -np.inf),
        "added": rng.normal(size=(2, 1, 3, 5)),
    }[kind]
    mask = {
        "none": None,
        "causal": "causal",
        "seen": mx.array(seen),
        "added": mx.array(added.astype(np.float32)),
    }[kind]
    arrays = [mx.array(a.astype(np.float32)) for a in (queries, keys, values)]
    found = fastmath.attention(*arrays, 0.3, mask)
    exact = attend(queries, keys, values, 0.3, np.broadcast_to(added, (2, 4, 3, 5)))
    np.testing.assert_allclose(np.array(found), exact, atol=2e-6)
    weight = mx.random.normal(found.shape, key=mx.random.key(0))
    ours, theirs = (
        mx.grad(lambda q, k, v, f=f: (f(q, k, v) * weight).sum(), argnums=(0, 1, 2))(*arrays)
        for f in (
            lambda q, k, v: fastmath.attention(q, k, v, 0.3, mask),
            lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.3, mask=mask),
        )
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.array(mine), np.array(other), atol=3e-6)


@on_cpu
@pytest.mark.parametrize("kind", ["causal", "seen", "added"])
@pytest.mark.parametrize("queries_at_a_time", [1, 2, 5])
def test_queries_read_in_parts_see_the_same(monkeypatch, kind, queries_at_a_time):
    """Five queries, the last of seven places; some keys before their own are hidden too."""
    monkeypatch.setattr(fastmath, "_QUERIES", queries_at_a_time)
    rng = np.random.default_rng(3)
    queries, keys, values = (rng.normal(size=s) for s in ((2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 6)))
    causal = np.arange(7) <= np.arange(2, 7)[:, None]
    hidden = causal & (rng.random((2, 1, 5, 7)) < 0.7)
    hidden[..., 0] = True
    seen, mask = {
        "causal": (causal[None, None], "causal"),
        "seen": (hidden, mx.array(hidden)),
        "added": (hidden, mx.array(np.where(hidden, 0.0, -1e9).astype(np.float32))),
    }[kind]
    arrays = [mx.array(a.astype(np.float32)) for a in (queries, keys, values)]
    found = fastmath._model_attention(*arrays, None, 0.3, mask)
    exact = attend(queries, keys, values, 0.3, np.broadcast_to(np.where(seen, 0.0, -np.inf), (2, 4, 5, 7)))
    np.testing.assert_allclose(np.array(found), exact, atol=2e-6)


@on_cpu
def test_a_query_that_sees_nothing_gives_numbers():
    queries, keys = mx.ones((1, 1, 2, 4)), mx.random.normal((1, 1, 3, 4), key=mx.random.key(0))
    mask = mx.array([[True, False, False], [False, False, False]])
    found = np.array(fastmath.attention(queries, keys, keys, 1.0, mask))[0, 0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], np.array(keys)[0, 0, 0], atol=1e-6)


@on_cpu
@pytest.mark.parametrize(
    ("dtype", "sinks", "fast"), [(mx.float32, None, True), (mx.bfloat16, None, False), (mx.float32, 1, False)]
)
def test_a_model_attends_fast_where_that_is_fast_and_the_same(monkeypatch, dtype, sinks, fast):
    model = gemma.Model(gemma.ModelArgs("gemma", 16, 1, 32, 2, 8, 1e-6, 32, 1))
    fastmath.speed_up(model)
    taken: list[str] = []
    monkeypatch.setattr(fastmath, "attention", lambda *a: taken.append("fast"))
    monkeypatch.setattr(fastmath, "_MLX_LM_ATTENTION", lambda *a, **k: taken.append("theirs"))
    x = mx.zeros((1, 2, 3, 8), dtype)
    gemma.scaled_dot_product_attention(x, x, x, cache=None, scale=1.0, mask=None, sinks=sinks)
    assert taken == ["fast" if fast else "theirs"]


def in_pieces(function, x, cotangent, size):
    """Values and slopes of a function, some numbers at a time: too few for another thread."""
    pieces = [(x[i : i + size], cotangent[i : i + size]) for i in range(0, x.size, size)]
    found = [mx.vjp(function, [part], [slope]) for part, slope in pieces]
    return mx.concatenate([values[0] for values, _ in found]), mx.concatenate([slopes[0] for _, slopes in found])


@on_cpu
@pytest.mark.parametrize("function", [fastmath.exp, fastmath.gelu], ids=["exp", "gelu"])
@pytest.mark.parametrize("compiled", [False, True])
def test_large_arrays_are_computed_by_another_thread_and_are_the_same(function, compiled):
    """Three rows of 6 667: 20 001 numbers, which are padded to 20 480; alone, in a gradient, and in a compiled one."""
    x, cotangent = (mx.random.normal((20001,), key=mx.random.key(i)) * 3 for i in range(2))
    both = lambda x, c: mx.vjp(function, [x.reshape(3, -1)], [c.reshape(3, -1)])  # noqa: E731
    values, slopes = (mx.compile(both) if compiled else both)(x, cotangent)
    expected = in_pieces(function, x, cotangent, 1000)
    for found, exact in zip((*values, *slopes), expected, strict=True):
        np.testing.assert_allclose(np.array(found).ravel(), np.array(exact), rtol=1e-6, atol=1e-6)
    assert mx.array_equal(function(x.reshape(3, -1)), values[0])


@on_cpu
@pytest.mark.parametrize(("size", "times"), [((1 << 14) - 1, 0), (1 << 14, 1)])
def test_only_large_arrays_go_to_the_other_thread(monkeypatch, size, times):
    real, taken = fastmath._beside, []
    monkeypatch.setattr(fastmath, "_beside", lambda *a: (taken.append(1), real(*a))[1])
    mx.eval(fastmath.gelu(mx.zeros((size,))))
    assert len(taken) == times


@on_cpu
def test_rows_have_few_lengths():
    """From 1 000 to 2 000: multiples of 64 up to 1 024, then of 128; 1 024 and eight more."""
    seen = set()
    rows = fastmath._by_rows(lambda row: (seen.add(row.size), row)[1])
    for size in range(1000, 2001, 7):
        assert rows(mx.zeros((size,))).shape == (size,)
    assert len(seen) <= 9
    assert max(seen) < 2000 * 9 / 8


@on_cpu
def test_what_fails_in_the_other_thread_fails_here():
    with pytest.raises(ValueError, match="broadcast"):
        fastmath._gelu_slope(mx.zeros((1 << 14,)), mx.zeros((3,)))


@on_cpu
def test_a_forked_process_has_a_thread_of_its_own():
    """The other thread is not there any more: waiting for it would never end."""
    code = """
import os, mlx.core as mx
from align_mlx import fastmath
asked = fastmath._asked()
if (child := os.fork()) == 0:
    os._exit(3 if fastmath._asked() is not asked else 4)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"


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
