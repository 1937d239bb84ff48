"""Checkpointed blocks: the same numbers and gradients, less memory."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.gemma import Model, ModelArgs

from align_mlx import adapters as lora
from align_mlx.adapters import AdaptedLinear, Adapter, LoraSpec
from align_mlx.batching import pad
from align_mlx.compute import Compute
from align_mlx.logprobs import policy_stats
from align_mlx.recompute import recompute_blocks
from align_mlx.resident import Resident


def gradient_of(resident, scale, batch):
    def loss(params):
        return policy_stats(resident, (Adapter(params, scale),), batch).logprobs_BT.sum()

    return mx.value_and_grad(loss)


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_those_of_the_plain_blocks(resident, new_resident, adapter, rows, compiled):
    other = new_resident()
    names = [name for name, _ in other.model.named_modules()]
    recompute_blocks(other.model)
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
    tokens, peaks = mx.zeros((4, 256), mx.int32), []
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
    # Six blocks: with checkpointing the inside of one of them exists at a time.
    assert peaks[1] < 0.5 * peaks[0]
