"""Shared prompts: the same states, scores and gradients as one row at a time."""

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import adapters as lora
from align_mlx.adapters import Adapter, LoraSpec
from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.logprobs import policy_stats
from align_mlx.prefix import shares_prompts, states
from align_mlx.recompute import recompute_blocks
from align_mlx.repairs import repair
from align_mlx.resident import Resident
from tiny.models import VARIANTS, make_model

SPEC = LoraSpec(rank=2, alpha=4.0, layers=2)


def draw_rows() -> list[Tokens]:
    """Three prompts of 2, 21 and 9 tokens with 3, 1 and 2 answers of 1 to 18 tokens, not next to each other."""
    rng = np.random.default_rng(3)
    prompts = [tuple(rng.integers(9, 64, n).tolist()) for n in (2, 21, 9)]
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
    assert batch.prompts_PL.shape == (3, 32)
    assert batch.prompt_B.tolist() == [0, 1, 0, 2, 1, 0]
    assert batch.prompts_PL[2].tolist() == [*ROWS[3].prompt, *[0] * 11]
    assert pad(ROWS, share=False).prompts_PL is None
    assert pad([ROWS[0], ROWS[1], ROWS[3]]).prompts_PL is None


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
    resident, adapter = load(family, tied)
    value, expected = gradient(resident, adapter.scale, pad(ROWS, share=False))(adapter.params)
    if recompute:
        recompute_blocks(resident.model)
    shared, found = gradient(resident, adapter.scale, pad(ROWS))(adapter.params)
    assert shared.item() == pytest.approx(value.item(), rel=1e-6)
    for name, grad in expected.items():
        assert mx.abs(found[name] - grad).max().item() <= 3e-5 * mx.abs(grad).max().item(), name


def test_padding_does_not_matter():
    resident, adapter = load("gemma3_text", True)
    one, other = (np.array(states(resident, pad(ROWS, fill), (adapter,))) for fill in (0, 63))
    for i, row in enumerate(ROWS):
        np.testing.assert_array_equal(one[i, : len(row.response) + 1], other[i, : len(row.response) + 1])


def test_models_with_other_caches_read_every_row_whole(monkeypatch):
    """Where a block's state is not keys and values, nothing is shared, and the numbers are the same."""
    resident, adapter = load("qwen3", True)
    expected = np.array(states(resident, pad(ROWS), (adapter,)))
    monkeypatch.setattr("align_mlx.prefix.make_prompt_cache", lambda model: [object()])
    assert not shares_prompts(resident)
    found = np.array(states(resident, pad(ROWS), (adapter,)))
    for i, row in enumerate(ROWS):
        np.testing.assert_allclose(found[i, : len(row.response)], expected[i, : len(row.response)], atol=1e-4)
