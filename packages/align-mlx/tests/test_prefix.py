"""Shared prompts: the same states, scores and gradients as one row at a time."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import adapters as lora
from align_mlx import batching
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.batching import Batch, pad, padded_size
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.logprobs import policy_stats
from align_mlx.prefix import Prefix, shares_prompts, states
from align_mlx.recompute import recompute_blocks
from align_mlx.repairs import repair
from align_mlx.resident import Resident
from tiny.models import VARIANTS, make_model

SPEC = LoraSpec(rank=2, alpha=4.0, layers=2)


def draw_rows() -> list[Tokens]:
    """Three prompts of 2, 45 and 30 tokens with 3, 1 and 2 answers of 1 to 18 tokens, not next to each other."""
    rng = np.random.default_rng(3)
    prompts = [tuple(rng.integers(9, 64, n).tolist()) for n in (2, 45, 30)]
    answers = [(0, 5), (2, 18), (0, 1), (1, 7), (2, 4), (0, 11)]
    return [Tokens(prompts[p], tuple(rng.integers(9, 64, n).tolist())) for p, n in answers]


ROWS = draw_rows()


def load(family: str, tied: bool):
    """A resident model of a family, and an adapter that changes something."""
    model, config = make_model(family, tied=tied, hidden=16)
    model.freeze()
    repair(model)
    maps = lora.wrap(model)
    resident = Resident(model, None, maps, Compute(mx.float32, dense=True), frozenset({1}), config=config)
    params = lora.fresh(maps, SPEC, mx.random.key(1)).params
    drawn = {k: 0.2 * mx.random.normal(v.shape, key=mx.random.key(i)) for i, (k, v) in enumerate(params.items())}
    return resident, Adapter(drawn, SPEC.scale)


def gradient(resident, scale, batch):
    def loss(params):
        stats = policy_stats(resident, (Adapter(params, scale),), batch, entropy=True)
        return (stats.logprobs_BT + 0.3 * stats.entropy_BT).sum()

    return mx.value_and_grad(loss)


def test_distinct_prompts_are_padded_once():
    batch = pad(ROWS)
    assert batch.prompts_PL.shape == (3, 48)
    assert batch.prompt_B.tolist() == [0, 1, 0, 2, 1, 0]
    assert batch.prompts_PL[2].tolist() == [*ROWS[3].prompt, 0, 0, 0]
    assert pad(ROWS, share=False).prompts_PL is None
    assert pad([ROWS[0], ROWS[1], ROWS[3]]).prompts_PL is None


def test_prompts_are_shared_where_that_is_no_more_work(monkeypatch):
    """Buckets of 16 tokens, as on a GPU.

    Answers of 9 tokens: two to a prompt of 8 are 2 · 32 tokens whole and 16 + 2 · 16 shared; to one of 7, 2 · 16.
    """
    monkeypatch.setattr(batching, "backend", lambda: "cuda")
    for prompt, shared, size in ((8, True, 48), (7, False, 32)):
        rows = [Tokens((2,) * prompt, (w,) * 9) for w in (10, 11)]
        assert (pad(rows).prompts_PL is not None) == shared
        assert padded_size(rows) == size


@pytest.mark.parametrize("compiled", [False, True])
def test_a_batch_is_its_arrays(compiled):
    """A function of arrays sees the batch whole, also when it is traced: with shared prompts, and without."""
    resident, adapter = load("gemma3_text", True)

    def total(params, *arrays):
        return policy_stats(resident, (Adapter(params, adapter.scale),), Batch(*arrays)).logprobs_BT.sum()

    function = mx.value_and_grad(total)
    if compiled:
        function = mx.compile(function)
    expected = policy_stats(resident, (adapter,), pad(ROWS, share=False)).logprobs_BT.sum().item()
    for share, count in ((True, 5), (False, 3), (True, 5)):
        batch = pad(ROWS, share=share)
        assert len(batch.arrays) == count
        value, grads = function(adapter.params, *batch.arrays)
        assert value.item() == pytest.approx(expected, rel=1e-6)
        for name, grad in mx.grad(total)(adapter.params, *pad(ROWS, share=False).arrays).items():
            assert mx.abs(grads[name] - grad).max().item() <= 3e-5 * mx.abs(grad).max().item(), name


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_states_are_those_of_each_row_alone(family, tied):
    """gemma3_text sees 8 tokens back: prompts and answers here are longer."""
    resident, adapter = load(family, tied)
    found = np.array(states(resident, pad(ROWS), (adapter,)))
    for i, row in enumerate(ROWS):
        alone = np.array(resident.hidden(mx.array([row.ids]), (adapter,))[0, len(row.prompt) - 1 :])
        np.testing.assert_allclose(found[i, : len(alone)], alone, rtol=0, atol=2e-5 * np.abs(alone).max())


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_gradients_flow_through_the_prompt(family, tied, recompute):
    """With blocks recomputed too, where each block hands on its prompts' keys and values; then compiled as well."""
    resident, adapter = load(family, tied)
    value, expected = gradient(resident, adapter.scale, pad(ROWS, share=False))(adapter.params)
    if recompute:
        recompute_blocks(resident.model)
    function = gradient(resident, adapter.scale, pad(ROWS))
    shared, found = (mx.compile(function) if recompute else function)(adapter.params)
    assert shared.item() == pytest.approx(value.item(), rel=1e-6)
    for name, grad in expected.items():
        assert mx.abs(found[name] - grad).max().item() <= 3e-5 * mx.abs(grad).max().item(), name


def test_padding_does_not_matter():
    resident, adapter = load("gemma3_text", True)
    one, other = (np.array(states(resident, pad(ROWS, fill), (adapter,))) for fill in (0, 63))
    for i, row in enumerate(ROWS):
        np.testing.assert_array_equal(one[i, : len(row.response) + 1], other[i, : len(row.response) + 1])


@pytest.mark.parametrize(("family", "tied"), VARIANTS)
def test_the_trial_at_load_accepts_every_family(family, tied):
    assert shares_prompts(load(family, tied)[0])


def test_models_that_cannot_share_read_every_row_whole(monkeypatch):
    """Another kind of state, a question that a `Prefix` does not answer, another number: nothing is shared."""
    resident, adapter = load("qwen3", True)
    expected = np.array(states(resident, pad(ROWS), (adapter,)))
    with monkeypatch.context() as patch:
        patch.setattr("align_mlx.prefix.make_prompt_cache", lambda model: [object()])
        assert not shares_prompts(resident)
    with monkeypatch.context() as patch:
        patch.delattr(Prefix, "update_and_fetch")
        assert not shares_prompts(resident)
    with monkeypatch.context() as patch:
        patch.setattr(Prefix, "offset", 0)
        assert not shares_prompts(resident)
    resident.shares_prompts = False
    found = np.array(states(resident, pad(ROWS), (adapter,)))
    for i, row in enumerate(ROWS):
        np.testing.assert_allclose(found[i, : len(row.response)], expected[i, : len(row.response)], atol=1e-4)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("slip", ["the window", "the first token"])
def test_the_trial_sees_a_small_slip(monkeypatch, dtype, slip):
    """A prompt that is seen too far back, or not to its beginning."""
    resident, _ = load("gemma3_text", True)
    resident.model.set_dtype(dtype)
    resident = replace(resident, compute=Compute(dtype, dense=True))
    assert shares_prompts(resident)
    honest = Prefix.make_mask

    def make_mask(self, count, return_array=False, window_size=None):
        if self.starts_B is None or slip == "the window":
            return honest(self, count, return_array, window_size if self.starts_B is None else None)
        mask = honest(self, count, return_array, window_size)
        return mask & (mx.arange(mask.shape[-1]) > 0)

    monkeypatch.setattr(Prefix, "make_mask", make_mask)
    assert not shares_prompts(resident)


def test_the_trial_sees_heads_that_share_keys():
    """mlx-lm's Gemma 2 takes no mask of its own for each row unless it is repaired."""
    model, config = make_model("gemma2", tied=True, hidden=16)
    model.freeze()
    maps = lora.wrap(model)
    assert not shares_prompts(
        Resident(model, None, maps, Compute(mx.float32, dense=True), frozenset({1}), config=config)
    )


def test_a_loaded_base_knows_whether_it_shares(resident):
    assert resident.shares_prompts
