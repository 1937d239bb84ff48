"""Invariances: what must not change the numbers does not change them."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model

from align_mlx import loading, rollout
from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, bucket, by_length, pad
from align_mlx.chat import Tokens
from align_mlx.compute import Compute
from align_mlx.logprobs import policy_stats, response_stats
from align_mlx.prefix import states
from align_mlx.recompute import recompute_blocks
from align_mlx.reward import head_scores
from align_mlx.rollout import Draw, Prompt, sample
from align_mlx.softmax import Blocks
from align_rm.objective import make_gradient as rm_gradient
from align_rm.objective import zero_head
from align_sft.gradient import accumulate, make_gradient
from conformance.methods import token_logprobs
from conformance.specimen import SPEC, Specimen, as_lora, assert_close, draw, draw_rows, float64, make, ragged, specimen
from tiny.models import make_model, save_model
from tiny.tokenizer import word_tokenizer

ROWS = draw_rows(1, [3, 17, 1, 5, 9], [4, 12, 20, 1, 6])
PROMPTS = [Prompt(row.prompt, 70 + i) for i, row in enumerate(ROWS)]
# Two prompts of 30 and 40 tokens with three answers each, in turns.
ASKED, ANSWERS = draw_rows(3, [30, 40], [1, 1]), draw_rows(4, [1] * 6, [4, 12, 20, 1, 6, 17])
GROUPS = [Tokens(ASKED[i % 2].prompt, answer.response) for i, answer in enumerate(ANSWERS)]
FAMILIES = [("gemma", True), ("gemma3_text", False), ("qwen3", False)]

WHOLE = Blocks(100_000, 100_000)


def close(found, expected, tolerance=2e-5):
    """Gradients agree relative to the largest number."""
    assert sorted(found) == sorted(expected)
    largest = max(np.abs(v).max() for v in float64(expected).values())
    assert largest > 0
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * largest, err_msg=name)


def wider(batch, columns, steps, padding):
    """Pad a batch further, with another token."""
    tokens = mx.pad(batch.tokens_BL, [(0, 0), (0, columns)], constant_values=padding)
    return Batch(tokens, batch.starts_B, mx.pad(batch.mask_BT, [(0, 0), (0, steps)]))


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_amount_of_padding(family, tied):
    """Padding amount: wider arrays and another padding token change neither log-probs nor gradients nor scores."""
    model, batch = specimen(family, tied), pad(ROWS)
    adapter = model.adapter(2)
    wide = wider(batch, 13, 7, padding=40)
    head = draw({"weight": np.zeros((1, 16)), "bias": np.zeros(1)}, 3)

    def loss(params, part):
        return policy_stats(model.resident, (Adapter(params, adapter.scale),), part).logprobs_BT.sum()

    one, other = (policy_stats(model.resident, (adapter,), b, entropy=True) for b in (batch, wide))
    for name in ("logprobs_BT", "entropy_BT"):
        assert_close(ragged(getattr(other, name), ROWS), ragged(getattr(one, name), ROWS), atol=1e-5)
        assert getattr(other, name).sum().item() == pytest.approx(getattr(one, name).sum().item(), rel=1e-5)
    close(*(mx.grad(loss)(adapter.params, b) for b in (wide, batch)))
    scores = [head_scores(states(model.resident, b, (adapter,)), b.lengths_B, head) for b in (batch, wide)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
def test_side_of_padding(family, tied):
    """Padding side: prompts read left-padded by the cache give the states of prompts read right-padded without one."""
    model = specimen(family, tied)
    adapters = (model.adapter(2),)
    for group in ([0, 1, 2], [2, 3, 4]):
        together = sample(model.resident, adapters, [PROMPTS[i] for i in group], draw=Draw(3), max_new_tokens=8)
        alone = [sample(model.resident, adapters, [PROMPTS[i]], draw=Draw(3), max_new_tokens=8)[0] for i in group]
        assert together == alone


def test_order_in_the_batch():
    """Batch order: rows keep their numbers wherever they stand."""
    model, order = specimen("gemma"), [3, 0, 4, 2, 1]
    adapter = model.adapter(2)
    one = ragged(policy_stats(model.resident, (adapter,), pad(ROWS)).logprobs_BT, ROWS)
    shuffled = [ROWS[i] for i in order]
    other = ragged(policy_stats(model.resident, (adapter,), pad(shuffled)).logprobs_BT, shuffled)
    assert_close(other, [one[i] for i in order], atol=1e-5)
    gradient = make_gradient(model.resident, adapter.scale, compiled=False)
    close(accumulate(gradient, adapter.params, shuffled, 2)[1], accumulate(gradient, adapter.params, ROWS, 2)[1])


def test_size_of_micro_batches():
    """Micro-batch size: SFT's loss and gradient over 1, 2, 3 and all rows at a time; a budget cuts all, once."""
    model = specimen("gemma")
    adapter = model.adapter(2)
    gradient = make_gradient(model.resident, adapter.scale, compiled=False)
    loss, grads, _ = accumulate(gradient, adapter.params, ROWS, len(ROWS))
    for size in (1, 2, 3):
        found = accumulate(gradient, adapter.params, ROWS, size)
        assert found[0] == pytest.approx(loss, rel=1e-6)
        close(found[1], grads)
    for budget in (64, 96, 10_000):
        groups = list(by_length(ROWS, budget))
        assert sorted(i for group in groups for i in group) == list(range(len(ROWS)))
        assert all(len(g) == 1 or len(g) * max(bucket(len(ROWS[i])) for i in g) <= budget for g in groups)


@pytest.mark.parametrize("blocks", [Blocks(13, 64), Blocks(40, 9), Blocks(1000, 33)])
@pytest.mark.parametrize(("family", "tied"), [("gemma2", True), ("llama", False)])
def test_block_sizes(family, tied, blocks):
    """Line 4: log-probs, entropy and gradient for any blocks of tokens and vocabulary."""
    model, batch = specimen(family, tied), pad(ROWS)
    before = states(model.resident, batch)

    def both(states_BSD, cut):
        stats = response_stats(model.resident, states_BSD, batch, temperature=0.8, entropy=True, blocks=cut)
        return mx.stack([stats.logprobs_BT, stats.entropy_BT])

    np.testing.assert_allclose(both(before, blocks), both(before, WHOLE), rtol=0, atol=1e-5)
    one, other = (mx.grad(lambda h, s=cut: both(h, s).square().sum())(before) for cut in (WHOLE, blocks))
    close({"states": other}, {"states": one})


@pytest.mark.parametrize(("family", "tied"), [("gemma", True), ("gemma2", True)])
def test_compiled_or_not(family, tied):
    """Compile on and off: SFT's and the reward model's loss and gradient."""
    model = specimen(family, tied)
    adapter, batch = model.adapter(2), pad(ROWS[:4])
    runs = [make_gradient(model.resident, adapter.scale, compiled=on) for on in (False, True)]
    found = [run(adapter.params, batch.tokens_BL, batch.starts_B, batch.mask_BT) for run in runs]
    assert found[1][0].item() == pytest.approx(found[0][0].item(), rel=1e-6)
    close(found[1][1], found[0][1])
    params = {**adapter.params, "head.weight": draw({"w": np.zeros((1, 16))}, 3)["w"]}
    gaps, pairs = mx.array([0.5, -1.0]), [pad(GROUPS[:4], share=share) for share in (True, False)]
    assert [len(batch.arrays) for batch in pairs] == [5, 3]
    options = {"margin": 0.2, "centering": 0.1}
    runs = [rm_gradient(model.resident, adapter.scale, zero_head(16), **options, compiled=on) for on in (False, True)]
    found = [run(params, gaps, *batch.arrays) for run in runs for batch in pairs]
    for other in found[1:]:
        assert other[0].item() == pytest.approx(found[0][0].item(), rel=1e-6)
        close(other[1], found[0][1])


@pytest.mark.parametrize(("family", "tied"), FAMILIES)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_prompts_shared_or_not(family, tied, checkpointed):
    """Shared prompts: log-probs, entropies and gradients are the reference's and those of rows read whole."""
    model = make(family, tied) if checkpointed else specimen(family, tied)
    adapter = model.adapter(2)
    if checkpointed:
        recompute_blocks(model.resident.model)
    batches = [pad(GROUPS, share=share) for share in (True, False)]
    assert batches[0].prompt_B.tolist() == [0, 1] * 3

    def loss(params, batch):
        stats = policy_stats(model.resident, (Adapter(params, adapter.scale),), batch, entropy=True)
        return (stats.logprobs_BT + 0.3 * stats.entropy_BT).sum()

    close(*(mx.grad(loss)(adapter.params, batch) for batch in batches), tolerance=5e-5)
    expected = token_logprobs(model, GROUPS, [as_lora(adapter)])
    for batch in batches:
        found = ragged(policy_stats(model.resident, (adapter,), batch).logprobs_BT, GROUPS)
        assert_close(found, expected, atol=2e-5)


@pytest.mark.parametrize("tokens", [10_000, 7])
def test_checkpointed_or_not(tokens):
    """Gradient checkpointing: computing blocks twice, their MLPs some tokens after the others, changes no gradient."""
    model, again = specimen("gemma"), make("gemma")
    adapter = model.adapter(2)
    recompute_blocks(again.resident.model, tokens)
    one, other = (make_gradient(m.resident, adapter.scale, compiled=False) for m in (model, again))
    close(accumulate(other, adapter.params, ROWS, 3)[1], accumulate(one, adapter.params, ROWS, 3)[1])


@pytest.mark.parametrize("family", ["gemma", "llama"])
def test_quantized_or_dense(family, tmp_path):
    """Quantized vs dense compute of the same 4-bit weights, and both against the reference on their values."""
    model, config = make_model(family, hidden=32)
    model, config = quantize_model(model, config, 32, 4)
    save_model(tmp_path, model, config, word_tokenizer())
    dense, packed = (loading.load_base(tmp_path, Compute(mx.float32, dense=on)) for on in (True, False))
    assert any("scales" in name for name in dict(tree_flatten(packed.model.parameters())))
    weights = {k.replace(".base.", "."): v for k, v in tree_flatten(dense.model.parameters())}
    exact = Specimen(dense, float64(weights), config)
    adapter = exact.adapter(2, spec=SPEC)
    expected = token_logprobs(exact, ROWS, [as_lora(adapter)])
    grads = []
    for base in (dense, packed):
        assert_close(ragged(policy_stats(base, (adapter,), pad(ROWS)).logprobs_BT, ROWS), expected, atol=5e-5)
        run = make_gradient(base, adapter.scale, compiled=False)
        grads.append(accumulate(run, adapter.params, ROWS, 3)[1])
    close(grads[1], grads[0], tolerance=5e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_copies_of_a_prompt(temperature):
    """1 vs K copies: answer k of a prompt is the same whatever K is, however the rollout is cut, whoever is beside."""
    model = specimen("gemma3_text", False)
    setting = {"draw": Draw(4, 2), "max_new_tokens": 9, "temperature": temperature}
    many = sample(model.resident, (), PROMPTS, answers=4, **setting)
    for k in (1, 2):
        assert sample(model.resident, (), PROMPTS, answers=k, **setting) == [a for i, a in enumerate(many) if i % 4 < k]
    for rows in (1, 5, 8):
        assert sample(model.resident, (), PROMPTS, answers=4, max_rows=rows, **setting) == many
    backwards = sample(model.resident, (), PROMPTS[::-1], answers=4, **setting)
    assert backwards == [a for i in reversed(range(len(PROMPTS))) for a in many[4 * i : 4 * i + 4]]


def test_copies_share_their_prefix(monkeypatch):
    """1 vs K copies: the trunk reads each prompt once, and then one token an answer.

    A step begins before the last one's tokens are read, so an answer that ended takes part in one more.
    """
    monkeypatch.setattr(rollout, "GONE", 0)  # rows leave as soon as they have ended
    model, shapes = make("gemma"), []
    real = model.resident.hidden

    def counted(tokens_BL, *rest):
        shapes.append(tokens_BL.shape)
        return real(tokens_BL, *rest)

    model.resident.hidden = counted
    found = sample(model.resident, (), PROMPTS, draw=Draw(4), answers=6, max_new_tokens=9)
    lengths = [len(a.tokens.response) for a in found]
    assert shapes[0] == (len(PROMPTS), max(len(p.ids) for p in PROMPTS))
    assert shapes[1:] == [(sum(n >= t for n in lengths), 1) for t in range(1, min(max(lengths) + 1, 9))]
    shapes.clear()
    sample(model.resident, (), PROMPTS, draw=Draw(4), answers=6, max_new_tokens=9, max_rows=12)
    assert max(rows for rows, _ in shapes) == 12  # two prompts at a time
