import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import adapters as lora
from align_mlx.adapters import LoraSpec
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.train_state import TrainState
from align_rm.objective import HEAD, accumulate, make_gradient, split_params, zero_head
from align_rm.pairs import Pair, encode_pairs, rows_of

SPEC = LoraSpec(2, 4.0, 2)


@pytest.fixture(scope="module")
def pairs(resident, make_pairs):
    return encode_pairs(make_pairs(10, 8), resident, 64).kept


@pytest.fixture(scope="module")
def gradient(resident):
    return make_gradient(resident, SPEC.scale, zero_head(32), margin=0.0, centering=0.0, compiled=False)


def start(resident, size=0.0):
    """Fresh adapter and zero head; with `size`, B and head are drawn."""
    params = dict(lora.fresh(resident.maps, SPEC, mx.random.key(0)).params)
    params[HEAD + "weight"] = zero_head(32)["weight"]
    for i, (name, value) in enumerate(params.items()):
        if size and not name.endswith("lora_a"):
            params[name] = size * mx.random.normal(value.shape, key=mx.random.key(i))
    return params


def test_a_zero_head_has_the_loss_of_a_coin_and_its_gradient_by_hand(resident, pairs, gradient):
    """Loss ln 2; d/dw = −½ · mean(h_chosen − h_rejected), h the last token's hidden state, one row at a time."""
    loss, grads = accumulate(gradient, start(resident), pairs, 10_000)
    assert loss == pytest.approx(math.log(2))

    def last(row):
        return np.array(resident.hidden(mx.array([row.ids]))[0, -1], np.float64)

    expected = -0.5 * np.mean([last(p.chosen) - last(p.rejected) for p in pairs], axis=0)
    np.testing.assert_allclose(np.array(grads[HEAD + "weight"])[0], expected, rtol=1e-4, atol=1e-5)
    assert all(mx.abs(g).max().item() == 0 for k, g in grads.items() if k.endswith("lora_a"))


@pytest.mark.parametrize("budget", [1, 130, 300])
def test_the_budget_does_not_change_the_gradient(resident, pairs, gradient, budget):
    params = start(resident, 0.1)
    whole, parts = (accumulate(gradient, params, pairs, b) for b in (10_000, budget))
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    for name, grad in whole[1].items():
        np.testing.assert_allclose(np.array(parts[1][name]), np.array(grad), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_answers_of_a_pair_share_their_prompt(resident, compiled):
    """Prompts of 30 to 50 tokens: loss and gradient are those of every answer read whole."""
    rng = np.random.default_rng(6)
    asked = [tuple(rng.integers(9, 64, n).tolist()) for n in (30, 50, 41)]
    said = [[tuple(rng.integers(9, 64, n).tolist()) for n in pair] for pair in ((3, 12), (16, 1), (9, 9))]
    pairs = [
        Pair("", Tokens(p, a), Tokens(p, b), gap) for p, (a, b), gap in zip(asked, said, (1, -2, 0.5), strict=True)
    ]
    params, gaps = start(resident, 0.1), mx.array([p.gap for p in pairs])
    options = {"margin": 0.2, "centering": 0.1, "compiled": compiled}
    function = make_gradient(resident, SPEC.scale, zero_head(32), **options)
    (loss, expected), (shared, grads) = (
        function(params, gaps, *pad(rows_of(pairs), share=share).arrays) for share in (False, True)
    )
    assert pad(rows_of(pairs)).prompt_B.tolist() == [0, 1, 2, 0, 1, 2]
    assert shared.item() == pytest.approx(loss.item(), rel=1e-5)
    largest = max(mx.abs(g).max().item() for g in expected.values())
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, rtol=0, atol=5e-5 * largest, err_msg=name)
    # … and accumulate reads them so, whatever the budget; it gives the mean.
    for budget in (1, 100, 10_000):
        mean, parts = accumulate(function, params, pairs, budget)
        assert mean == pytest.approx(loss.item() / 3, rel=1e-5)
        for name, grad in expected.items():
            np.testing.assert_allclose(3 * parts[name], grad, rtol=0, atol=5e-5 * largest, err_msg=name)


def test_compile_does_not_change_the_gradient(resident, pairs, gradient):
    params = start(resident, 0.1)
    compiled = make_gradient(resident, SPEC.scale, zero_head(32), margin=0.0, centering=0.0, compiled=True)
    plain, fused = (accumulate(g, params, pairs, 300) for g in (gradient, compiled))
    for name, grad in plain[1].items():
        np.testing.assert_allclose(np.array(fused[1][name]), np.array(grad), rtol=1e-3, atol=1e-5)


def test_swapping_the_answers_turns_the_head_around(resident, pairs, gradient):
    swapped = [replace(p, chosen=p.rejected, rejected=p.chosen) for p in pairs]
    forward, backward = (accumulate(gradient, start(resident), p, 10_000)[1] for p in (pairs, swapped))
    name = HEAD + "weight"
    np.testing.assert_allclose(np.array(forward[name]), -np.array(backward[name]), rtol=1e-4, atol=1e-6)


def test_every_array_is_alive_within_three_updates(resident, pairs, gradient):
    """A zero head stops everything behind it once, a zero B stops A once more."""
    state, alive = TrainState.start(start(resident)), []
    for _ in range(3):
        _, grads = accumulate(gradient, state.params, pairs, 10_000)
        alive.append({k for k, g in grads.items() if mx.abs(g).max().item() > 0})
        state.update(grads, 1e-2, 1.0)
    assert alive[0] == {HEAD + "weight"}
    assert {k for k in alive[1] if k.endswith("lora_a")} == set()
    assert alive[2] == set(state.params)


def test_the_bias_is_free_without_centering_and_trained_with_it(resident, pairs):
    head, params = zero_head(32), start(resident, 0.1)
    params[HEAD + "bias"] = mx.array([0.3])
    grads = []
    for centering in (0.0, 0.01):
        function = make_gradient(resident, SPEC.scale, head, margin=0.0, centering=centering, compiled=False)
        grads.append(accumulate(function, params, pairs, 10_000)[1][HEAD + "bias"].item())
    assert grads[0] == pytest.approx(0.0, abs=1e-6)
    assert abs(grads[1]) > 1e-4


def test_split_params():
    head = zero_head(4)
    adapter, now = split_params({"x.lora_a": mx.ones(1), HEAD + "weight": mx.ones((1, 4))}, 2.0, head)
    assert set(adapter.params) == {"x.lora_a"}
    assert now["weight"].tolist() == [[1.0] * 4]
    assert now["bias"].tolist() == [0.0]
