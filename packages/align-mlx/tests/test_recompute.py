"""Checkpointed blocks: the same numbers and gradients, less memory."""

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models.gemma import Model, ModelArgs

from align_mlx import adapters as lora
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec
from align_mlx.batching import pad
from align_mlx.compute import Compute
from align_mlx.logprobs import policy_stats
from align_mlx.recompute import recompute_blocks
from align_mlx.resident import Resident
from align_mlx.rollout import Draw, Prompt, sample


def gradient_of(resident, scale, batch):
    def loss(params):
        return policy_stats(resident, (Adapter(params, scale),), batch).logprobs_BT.sum()

    return mx.value_and_grad(loss)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_those_of_the_plain_blocks(resident, new_resident, adapter, rows, compiled):
    other = new_resident()
    names = [name for name, _ in other.model.named_modules()]
    recompute_blocks(other.model, tokens=5)  # MLPs see the batch of twelve rows in four parts
    assert [name for name, _ in other.model.named_modules()] == names
    batch = pad(rows)
    function = gradient_of(other, adapter.scale, batch)
    value, grads = (mx.compile(function) if compiled else function)(adapter.params)
    expected, wanted = gradient_of(resident, adapter.scale, batch)(adapter.params)
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-6)
    for name, grad in wanted.items():
        np.testing.assert_allclose(np.array(grads[name]), np.array(grad), rtol=1e-4, atol=1e-4)
    assert not any(m._worn for m in other.model.modules() if isinstance(m, AdaptedLinear))


def test_shared_adapters_are_worn_in_both_passes(new_resident, make_adapter, adapter, rows):
    """A frozen adapter in the stack is part of the recomputed forward too."""
    batch, found = pad(rows), []
    for recompute in (False, True):
        resident = new_resident()
        resident.shared = (make_adapter(resident.maps, 4),)
        if recompute:
            recompute_blocks(resident.model)
        found.append(gradient_of(resident, adapter.scale, batch)(adapter.params)[1])
    for name, grad in found[0].items():
        np.testing.assert_allclose(np.array(found[1][name]), np.array(grad), rtol=1e-4, atol=1e-4)


def test_memory_falls():
    sizes = {"hidden_size": 32, "num_hidden_layers": 6, "intermediate_size": 64, "num_attention_heads": 2}
    more = {"num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-6, "vocab_size": 64}
    tokens, peaks = mx.zeros((4, 512), mx.int32), []
    for recompute in (False, True):
        model = Model(ModelArgs(model_type="gemma", **sizes, **more))
        maps = lora.wrap(model)
        resident = Resident(model, None, maps, Compute(mx.float32, dense=True), frozenset({1}))
        adapter = lora.fresh(maps, LoraSpec(4, 8.0, 6), mx.random.key(0))
        if recompute:
            recompute_blocks(model)

        def loss(params, resident=resident):
            return resident.hidden(tokens, (Adapter(params, 1.0),)).sum()

        mx.eval(model.parameters(), adapter.params)
        mx.reset_peak_memory()
        mx.eval(mx.grad(loss)(adapter.params))
        peaks.append(mx.get_peak_memory())
    # Six blocks: with checkpointing the inside of one of them exists at a time, beside what its gradient needs.
    assert peaks[1] < 0.6 * peaks[0]


def test_an_mlp_holds_a_part_of_its_tokens():
    """One block with an MLP 64 times as wide as its hidden state: 2 MiB an array of all 512 tokens, 0.5 of a part."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 1024, "num_attention_heads": 1}
    more = {"num_key_value_heads": 1, "head_dim": 16, "rms_norm_eps": 1e-6, "vocab_size": 64}
    tokens, peaks, grads = mx.arange(512)[None] % 64, [], []
    for parts in (512, 128):
        mx.random.seed(0)
        model = Model(ModelArgs(model_type="gemma", **sizes, **more))
        maps = lora.wrap(model)
        resident = Resident(model, None, maps, Compute(mx.float32, dense=True), frozenset({1}))
        adapter = lora.fresh(maps, LoraSpec(2, 4.0, 1), mx.random.key(0))
        params = {k: v + 0.01 for k, v in adapter.params.items()}
        recompute_blocks(model, parts)

        def loss(params, resident=resident):
            # Not the sum of squares: the last norm keeps that constant, and its gradient would be rounding.
            return (resident.hidden(tokens, (Adapter(params, 1.0),)) * mx.cos(mx.arange(16)))[:, ::3].sum()

        mx.eval(model.parameters(), params)
        held = mx.get_active_memory()
        mx.reset_peak_memory()
        grads.append(mx.grad(loss)(params))
        mx.eval(grads[-1])
        peaks.append(mx.get_peak_memory() - held)
    assert peaks[0] > 4 * 2**21  # gate, up, their product and what its gradient needs
    assert peaks[1] < 0.5 * peaks[0]
    for name, grad in grads[0].items():
        np.testing.assert_allclose(grads[1][name], grad, rtol=1e-4, atol=1e-5 * mx.abs(grad).max().item())


def test_what_earlier_blocks_hand_on_gets_its_gradient():
    """A block that is given more than its input, and gives back more than its output, is recomputed exactly."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(8, 8, bias=False)

        def __call__(self, x, mask, cache=None, *, shared):
            found = mx.tanh(self.inside(x)) * mask + shared[0]
            return found, (shared[0] + found,)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [Block(), Block(), Block()]

        def __call__(self, x):
            shared = (x * 0.5,)
            for layer in self.layers:
                x, shared = layer(x, mx.array([[True], [False], [True]]), None, shared=shared)
            return (x * shared[0]).sum()

    mx.random.seed(0)
    model = Model()
    maps = lora.wrap(model)
    adapter = lora.fresh(maps, LoraSpec(2, 2.0, 3), mx.random.key(1))
    params = {k: v + 0.1 for k, v in adapter.params.items()}
    x = mx.random.normal((3, 8))

    def loss(params):
        worn = Adapter(params, 1.0)
        for name, module in maps.items():
            module._worn = [(*worn.pair(name), 1.0)]
        value = model(x)
        for module in maps.values():
            module._worn = ()
        return value

    plain = mx.grad(loss)(params)
    recompute_blocks(model)
    again = mx.grad(loss)(params)
    for name, grad in plain.items():
        assert mx.abs(grad).max().item() > 1e-3
        np.testing.assert_allclose(again[name], grad, rtol=1e-4, atol=1e-5)


def test_with_a_cache_nothing_is_recomputed(new_resident, monkeypatch):
    resident = new_resident()
    recompute_blocks(resident.model)
    checkpointed = []
    monkeypatch.setattr(mx, "checkpoint", lambda function: checkpointed.append(1) or function)
    sample(resident, (), [Prompt((2, 9), 0), Prompt((2, 9, 10), 1)], draw=Draw(0), max_new_tokens=3)
    assert not checkpointed
    resident.hidden(mx.array([[2, 9]]))
    assert len(checkpointed) == 2  # blocks
