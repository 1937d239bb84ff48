"""SFT and merge, and line 6 of algorithms.md: which tokens are learned, the loss, its gradient, the schedule."""

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper

from align_mlx import steps
from align_mlx.adapters import Adapter
from align_mlx.batching import pad
from align_mlx.chat import encode_prompt, encode_turn
from align_sft.gradient import accumulate, make_gradient
from align_sft.merge import compare
from align_sft.rows import encode_rows
from conformance.methods import token_distributions, token_logprobs
from conformance.reference import kl, sft
from conformance.reference.transformer import Lora
from conformance.slopes import assert_gradients
from conformance.specimen import as_lora, draw_rows, float64, make, specimen
from tiny.models import VARIANTS
from tiny.templates import GEMMA
from tiny.tokenizer import word_tokenizer

ROWS = draw_rows(1, [3, 17, 1, 5, 9], [4, 12, 20, 1, 6])


@pytest.mark.parametrize(("family", "tied"), [v for v in VARIANTS if v[0] in ("gemma", "gemma2", "qwen3")])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_loss_and_gradient_are_over_all_tokens(family, tied, batch_size):
    """SFT: the mean over the response tokens of the whole batch, however it is cut; every A and B gets its gradient."""
    model = specimen(family, tied)
    adapter = model.adapter(2)
    gradient = make_gradient(model.resident, adapter.scale, compiled=False)
    loss, grads, tokens = accumulate(gradient, adapter.params, ROWS, batch_size)

    def exact(params):
        return sft.loss(token_logprobs(model, ROWS, [Lora(params, adapter.scale)]))

    assert tokens == sum(len(row.response) for row in ROWS)
    assert loss == pytest.approx(exact(float64(adapter.params)), rel=1e-5)
    assert_gradients(grads, exact, float64(adapter.params))


def test_the_mask_is_the_answer_and_its_end():
    """SFT: completion-only, exact to the token: the model turn with its end token; not prompt, not what follows."""
    tokenizer = TokenizerWrapper(word_tokenizer())
    ids = {name: GEMMA.id(name) for name in ("<bos>", "<start_of_turn>", "<end_of_turn>")}
    line, user, model, w = 6, 7, 8, 9
    prompt = (ids["<bos>"], ids["<start_of_turn>"], user, line, w + 1, ids["<end_of_turn>"], line)
    prompt += (ids["<start_of_turn>"], model, line)
    assert encode_prompt(tokenizer, "w1") == prompt
    turn = encode_turn(tokenizer, "w1", "w2 w3", frozenset({1, ids["<end_of_turn>"]}))
    assert (turn.prompt, turn.response) == (prompt, (w + 2, w + 3, ids["<end_of_turn>"]))
    batch = pad([turn], pad_token=0)
    # The state of the prompt's last token predicts the answer's first; behind the third stands what has read it all.
    assert np.array(batch.positions_BS[0])[:4].tolist() == [9, 10, 11, 12]
    assert np.array(batch.targets_BT[0])[:3].tolist() == list(turn.response)
    assert batch.mask_BT.sum().item() == 3


def test_rows_without_a_target_never_come():
    """Line 6: empty answers and over-length rows are dropped and counted; a row at the limit stays."""
    base = type("Base", (), {"tokenizer": TokenizerWrapper(word_tokenizer()), "end_tokens": frozenset({1, 5})})()
    texts = ["w2 w3", "  ", "w2 w3 w4", ""]
    rows = [
        {"prompt_id": str(i), "messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": text}]}
        for i, text in enumerate(texts)
    ]
    found = encode_rows(rows, base, 13)  # ten tokens of prompt, two words, the end
    assert (found.ids, found.empty, found.too_long) == (["0"], 2, 1)
    assert all(row.response for row in found.tokens)


def test_every_row_once_an_epoch():
    """SFT and RM: an epoch is a permutation of the rows, another one each time and for each seed."""
    size = 4
    assert steps.steps_of(10, size, 2) == 6
    assert steps.steps_of(10, size, 2, max_steps=5) == 5
    epochs = [
        [i for s in range(3) for i in steps.rows_of(3 * e + s, 10, size, seed)] for e, seed in ((0, 1), (1, 1), (0, 2))
    ]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert [len(steps.rows_of(s, 10, size, 1)) for s in range(3)] == [4, 4, 2]


def test_learning_rate():
    """SFT: linear warm-up to the peak, then constant, or half a cosine down to a tenth."""
    constant = [steps.learning_rate(2.0, s, 4, 10, "constant") for s in range(10)]
    assert constant == pytest.approx([0.5, 1.0, 1.5] + [2.0] * 7)
    # Behind 4 steps of warm-up, step 4 + i has done (i + 1) / 6 of the rest: half-way (i = 2) lies at 0.55 of the peak.
    cosine = [steps.learning_rate(2.0, s, 4, 10, "cosine") for s in range(10)]
    assert (cosine[3], cosine[6], cosine[9]) == pytest.approx((2.0, 1.1, 0.2))
    assert cosine[3:] == sorted(cosine[3:], reverse=True)


def test_merge_is_measured():
    """Merge: KL(merged ‖ base + adapter) and both perplexities, exactly, over held-out answers."""
    exact, merged = specimen("gemma"), make("gemma")
    adapter = exact.adapter(2)
    merged.resident.fold(Adapter(adapter.params, 0.7 * adapter.scale))  # a merge that lost some of it
    worn = make("gemma")
    worn.resident.shared = (adapter,)
    found = compare(merged.resident, worn.resident, [pad(ROWS[:2]), pad(ROWS[2:])])
    lora = as_lora(adapter)
    new, old = (token_distributions(exact, ROWS, [Lora(lora.arrays, f * lora.scale)]) for f in (0.7, 1.0))
    tokens = sum(len(row.response) for row in ROWS)
    divergence = sum(kl.exact(p, q).sum() for p, q in zip(new, old, strict=True)) / tokens
    assert found.tokens == tokens
    assert found.kl == pytest.approx(divergence, rel=1e-4)
    for perplexity, loras in ((found.before, [lora]), (found.after, [Lora(lora.arrays, 0.7 * lora.scale)])):
        assert perplexity == pytest.approx(sft.perplexity(token_logprobs(exact, ROWS, loras)), rel=1e-5)


def test_sharing_an_adapter_is_wearing_it():
    """LoRA: folded into the weights or on a stack under every role, an adapter counts once, with its scale."""
    model = specimen("gemma")
    first, second = model.adapter(2), model.adapter(3)
    expected = token_logprobs(model, ROWS[:1], [as_lora(first), as_lora(second)])[0]
    folded, stacked = make("gemma"), make("gemma")
    folded.resident.share(first)
    stacked.resident.shared = (first,)
    gradient = {}
    for name, one in (("folded", folded), ("stacked", stacked)):
        run = make_gradient(one.resident, second.scale, compiled=False)
        loss, gradient[name], _ = accumulate(run, second.params, ROWS[:1], 1)
        assert loss == pytest.approx(-expected.mean(), rel=1e-5)
    for name, grad in gradient["folded"].items():
        np.testing.assert_allclose(
            grad, gradient["stacked"][name], rtol=0, atol=2e-5 * mx.abs(grad).max().item() + 1e-7
        )
