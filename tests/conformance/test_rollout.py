"""Rollout and log-probs, lines 1, 2, 5 and 7 of algorithms.md: each sampled token, replayed by the reference."""

import mlx.core as mx
import numpy as np
import pytest

from align_mlx.adapters import Adapter
from align_mlx.rollout import Draw, Prompt, prompt_number, sample
from align_mlx.sampling import inverse_cdf, uniforms
from align_rl.config import GRPOConfig
from align_rl.rollout import collect
from conformance.methods import NOWHERE, make_scorer
from conformance.reference import bradley_terry, logprobs, sampling, transformer
from conformance.specimen import ENDS, as_lora, assert_close, draw_rows, ragged, specimen

PROMPTS = [Prompt(row.prompt, 1000 + i) for i, row in enumerate(draw_rows(1, [3, 9, 1, 5], [1, 1, 1, 1]))]
STEPS, SLACK = 9, 1e-5


def replay(model, adapters, answer, number, kth, draw, temperature):
    """Check every token of an answer: its interval of the cumulative distribution holds the place's own number."""
    prompt, response = answer.tokens.prompt, answer.tokens.response
    loras = [as_lora(a) for a in adapters]
    rows = transformer.logits(model.weights, model.config, [*prompt, *response], loras)[len(prompt) - 1 : -1]
    for t, token in enumerate(response):
        if temperature == 0:
            assert rows[t, token] >= rows[t].max() - SLACK
            continue
        edges = np.concatenate([[0.0], np.cumsum(np.exp(logprobs.log_softmax(rows[t] / temperature)))])
        u = sampling.uniform(draw.seed, draw.iteration, number, kth, t)
        assert edges[token] - SLACK <= u <= edges[token + 1] + SLACK


@pytest.mark.parametrize(
    ("family", "tied"), [("gemma", True), ("gemma3_text", False), ("llama", False), ("qwen3", True)]
)
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_every_token_is_the_one_its_number_picks(family, tied, temperature):
    """Lines 1, 5 and 7: one number per (seed, iteration, prompt, k, t), inverse CDF, temperature, any end token."""
    model, draw = specimen(family, tied), Draw(seed=11, iteration=3)
    adapters = (model.adapter(2, size=0.3),)
    found = sample(
        model.resident, adapters, PROMPTS, draw=draw, answers=3, max_new_tokens=STEPS, temperature=temperature
    )
    assert len(found) == 3 * len(PROMPTS)
    for i, answer in enumerate(found):
        prompt, response = PROMPTS[i // 3], answer.tokens.response
        assert answer.tokens.prompt == prompt.ids
        assert not ENDS & set(response[:-1])
        assert answer.truncated == (response[-1] not in ENDS)
        assert len(response) == STEPS or not answer.truncated
        replay(model, adapters, answer, prompt.number, i % 3, draw, temperature)
    if temperature:
        assert {a.truncated for a in found} == {True, False}
        assert len({a.tokens.response for a in found[:3]}) > 1


def test_numbers_of_every_place():
    """Line 7: SplitMix64 over seed, iteration, prompt, answer and position, in whole numbers; each one counts."""
    places = [(0, 0), (7, 0), (7, 5), (prompt_number("a prompt"), 1)]
    prompts, answers = np.array(places).T
    for run in ((0, 0), (42, 0), (42, 1), (777, 1 << 40)):
        exact = [[sampling.uniform(*run, *place, t) for t in range(3)] for place in places]
        np.testing.assert_array_equal(uniforms(*run, prompts, answers, 3), np.array(exact, np.float32))
    seen = {
        float(number)
        for run in ((1, 1), (1, 2), (2, 1))
        for prompt in (1, 2)
        for kth in (1, 2)
        for number in uniforms(*run, np.array([prompt]), np.array([kth]), 2)[0]
    }
    assert len(seen) == 3 * 2 * 2 * 2


def test_numbers_are_uniform():
    """Line 7: mean ½ and variance 1/12 within four standard errors of 40 000 numbers, and no correlation over t."""
    found = uniforms(3, 1, np.arange(400), np.zeros(400, np.int64), 100).astype(np.float64)
    assert 0 <= found.min() <= found.max() < 1
    assert found.mean() == pytest.approx(0.5, abs=4 * (1 / 12 / 40_000) ** 0.5)
    assert found.var() == pytest.approx(1 / 12, abs=4 * (1 / 180 / 40_000) ** 0.5)
    assert np.corrcoef(found[:, :-1].reshape(-1), found[:, 1:].reshape(-1))[0, 1] == pytest.approx(0, abs=0.02)


def test_inverse_cdf_picks_the_first_token_above():
    """Line 7: weights ¼, ½, 0, ¼ — numbers on and between the edges."""
    logits = mx.log(mx.array([[0.25, 0.5, 1e-30, 0.25]] * 6))
    numbers = [0.0, 0.2499, 0.2501, 0.7499, 0.7501, 0.999]
    found = inverse_cdf(logits, mx.array(numbers), 1.0).tolist()
    assert found == [0, 0, 1, 1, 3, 3]
    assert found == [sampling.token(np.array([0.25, 0.5, 0.0, 0.25]), u) for u in numbers]


def test_a_number_on_an_edge_belongs_to_what_follows():
    """Line 7: token i has [F(i−1), F(i)), edges in and out: never a token without probability, not even at 0."""
    even = mx.zeros((4, 4))  # weights of 1 and a sum of 4: the edges ¼, ½ and ¾ are exact
    assert inverse_cdf(even, mx.array([0.0, 0.25, 0.5, 0.75]), 1.0).tolist() == [0, 1, 2, 3]
    behind = mx.array([[-1e9, 0.0, -1e9, 0.0, -1e9]] * 3)
    assert inverse_cdf(behind, mx.array([0.0, 0.5, 1.0 - 2.0**-24]), 1.0).tolist() == [1, 3, 3]


def test_temperature_sharpens_the_cdf():
    """Line 2: weights 1 : 2 at temperature ½ become 1 : 4, so the edge moves from ⅓ to ⅕."""
    logits = mx.log(mx.array([[1.0, 2.0]] * 4))
    assert inverse_cdf(logits, mx.array([0.19, 0.21, 0.32, 0.34]), 0.5).tolist() == [0, 1, 1, 1]
    assert inverse_cdf(logits, mx.array([0.19, 0.21, 0.32, 0.34]), 1.0).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("budget", [64, 16384])
def test_collected_logprobs_and_scores(budget):
    """Lines 1 and 2, KL: old log-probs are the actor's, reference's without it, at the temperature; scores in order."""
    model = specimen("gemma")
    config = GRPOConfig(**NOWHERE, K=2, max_response_length=STEPS, temperature=0.7, token_budget=budget)
    actor, scorer = model.adapter(2), make_scorer(model, 4)
    rollout = collect(model.resident, actor, scorer, PROMPTS, config, draw=Draw(5, 1), answers=2)
    assert rollout.prompts.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    rows = [a.tokens for a in rollout.answers]
    same = sample(model.resident, (actor,), PROMPTS, draw=Draw(5, 1), answers=2, max_new_tokens=STEPS, temperature=0.7)
    assert rollout.answers == same
    for adapters, found in ((([as_lora(actor)]), rollout.logprobs_BT), ([], rollout.ref_logprobs_BT)):
        exact = []
        for row in rows:
            d = logprobs.distributions(model.weights, model.config, row.prompt, row.response, adapters, 0.7)
            exact.append(logprobs.of_response(d, row.response))
        assert_close(ragged(found, rows), exact, atol=2e-5)
    lora, head = as_lora(scorer.adapter), scorer.head
    weight, bias = np.array(head["weight"], np.float64)[0], head["bias"].item()
    exact = [bradley_terry.score(model.weights, model.config, row.ids, [lora], weight, bias) for row in rows]
    np.testing.assert_allclose(rollout.scores_B, exact, atol=2e-5)
    np.testing.assert_array_equal(rollout.truncated_B, [row.response[-1] not in ENDS for row in rows])
    for masked in (True, False):
        learns = np.array(rollout.learn_BT(masked)).sum(axis=1)
        kept = [len(row.response) * (row.response[-1] in ENDS or not masked) for row in rows]
        np.testing.assert_array_equal(learns, kept)


def test_the_cached_decode_is_the_teacher_forced_pass():
    """Line 2: two adapters on a stack while decoding are the same two while scoring: the replay holds for a stack."""
    model, draw = specimen("gemma"), Draw(2, 9)
    adapters = (model.adapter(2, size=0.3), Adapter(model.adapter(3).params, 0.5))
    for i, answer in enumerate(sample(model.resident, adapters, PROMPTS, draw=draw, max_new_tokens=STEPS)):
        replay(model, adapters, answer, PROMPTS[i].number, 0, draw, 1.0)


def test_a_prompt_that_stands_twice_goes_on_counting():
    """Line 7: the same prompt twice in an iteration gives other answers, not the same ones at double weight."""
    model, draw, prompt = specimen("gemma"), Draw(seed=5, iteration=1), PROMPTS[1]
    twice = sample(model.resident, (), [prompt, PROMPTS[0], prompt], draw=draw, answers=2, max_new_tokens=STEPS)
    once = sample(model.resident, (), [prompt], draw=draw, answers=4, max_new_tokens=STEPS)
    assert [a.tokens for a in (*twice[:2], *twice[4:])] == [a.tokens for a in once]
    assert len({a.tokens.response for a in once}) > 1


def test_the_tail_of_a_large_vocabulary_is_drawn():
    """Line 7: 200 000 words of 5e-8 each behind one of 0.99: a running sum in fp32 would give them nothing."""
    size, tail = 200_000, 0.01
    logits = np.full((1, size), np.log(tail / (size - 1)))
    logits[0, 0] = np.log(1 - tail)
    uniform = np.linspace(0.9905, 0.9995, 7)
    found = inverse_cdf(mx.array(np.repeat(logits, 7, axis=0), mx.float32), mx.array(uniform, mx.float32), 1.0)
    # The k-th word of the tail begins at 0.99 + k · 5e-8; u has 24 bits, one word more or less in 1 000 of them.
    expected = 1 + (uniform - (1 - tail)) / (tail / (size - 1))
    np.testing.assert_allclose(np.array(found), expected, rtol=0.01, atol=50)
