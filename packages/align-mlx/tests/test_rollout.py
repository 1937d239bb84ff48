from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import rollout
from align_mlx.batching import pad
from align_mlx.logprobs import policy_stats
from align_mlx.rollout import Draw, Prompt, sample
from align_mlx.sampling import uniforms

STEPS = 24
IDS = [(2, 9, 10), (2, 50), (2, 9, 10, 11, 30, 31, 32, 33, 40), (2, 21, 22, 23), (2, 60, 59), (2, 13, 14, 15, 16)]
PROMPTS = [Prompt(ids, number) for number, ids in enumerate(IDS, 100)]
DRAW = Draw(seed=3, iteration=2)


def plain_decode(plain, prompt: Prompt, answer: int, temperature: float = 1.0) -> tuple[int, ...]:
    """No batch, no cache: a full forward for each token and the inverse CDF in float64."""
    numbers = uniforms(DRAW.seed, DRAW.iteration, np.array([prompt.number]), np.array([answer]), STEPS)[0]
    ids: list[int] = []
    for u in numbers.astype(np.float64):
        logits = plain([*prompt.ids, *ids])[-1] / temperature
        cdf = np.cumsum(np.exp(logits - logits.max()))
        ids.append(int(np.searchsorted(cdf, u * cdf[-1], side="right")))
        if ids[-1] in (1, 5):
            break
    return tuple(ids)


@pytest.fixture(scope="module")
def drawn(resident):
    return sample(resident, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS)


def test_answers_are_those_of_a_plain_decode(plain, drawn):
    expected = [plain_decode(plain, p, k) for p in PROMPTS for k in range(3)]
    assert [a.tokens.response for a in drawn] == expected
    assert [a.tokens.prompt for a in drawn] == [p.ids for p in PROMPTS for _ in range(3)]


def test_some_answers_end_and_some_are_cut(drawn):
    ended = [a for a in drawn if not a.truncated]
    cut = [a for a in drawn if a.truncated]
    assert ended
    assert cut
    assert all(a.tokens.response[-1] in (1, 5) and not {1, 5} & set(a.tokens.response[:-1]) for a in ended)
    assert all(len(a.tokens.response) == STEPS and not {1, 5} & set(a.tokens.response) for a in cut)
    assert len({a.tokens.response for a in drawn}) > len(drawn) / 2


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 18])
def test_draws_do_not_depend_on_the_batch(resident, drawn, rows):
    assert sample(resident, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS, max_rows=rows) == drawn


@pytest.mark.parametrize("budget", [1, 7, 18])
def test_draws_do_not_depend_on_how_prompts_are_read(resident, drawn, budget):
    """Six prompts at once, one, one and three columns at a time: some columns are padding for all but one prompt."""
    found = sample(resident, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS, token_budget=budget)
    assert found == drawn


@pytest.mark.parametrize("part", [0, 0.3, 2])
def test_draws_do_not_depend_on_when_rows_leave(resident, drawn, monkeypatch, part):
    """As soon as one has ended, a few at a time, and never."""
    monkeypatch.setattr(rollout, "GONE", part)
    assert sample(resident, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS) == drawn


def test_draws_do_not_depend_on_company_or_order(resident, drawn):
    backwards = sample(resident, (), PROMPTS[::-1], draw=DRAW, answers=3, max_new_tokens=STEPS)
    assert [backwards[3 * (5 - p) + k] for p in range(6) for k in range(3)] == drawn


def test_fewer_answers_are_the_first_ones(resident, drawn):
    two = sample(resident, (), PROMPTS, draw=DRAW, answers=2, max_new_tokens=STEPS)
    assert two == [drawn[3 * p + k] for p in range(6) for k in range(2)]


def test_a_shorter_limit_cuts_the_same_answers(resident, drawn):
    short = sample(resident, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=4)
    assert [a.tokens.response for a in short] == [a.tokens.response[:4] for a in drawn]
    assert [a.truncated for a in short] == [a.tokens.response[:4][-1] not in (1, 5) for a in drawn]


def test_other_iterations_and_seeds_draw_anew(resident, drawn):
    for draw in (Draw(3, 3), Draw(4, 2)):
        assert sample(resident, (), PROMPTS, draw=draw, answers=3, max_new_tokens=STEPS) != drawn


def test_temperature(resident, plain):
    warm = sample(resident, (), PROMPTS[:3], draw=DRAW, max_new_tokens=STEPS, temperature=0.5)
    assert [a.tokens.response for a in warm] == [plain_decode(plain, p, 0, 0.5) for p in PROMPTS[:3]]
    greedy = sample(resident, (), PROMPTS[:3], draw=DRAW, max_new_tokens=5, temperature=0)
    for answer in greedy:
        ids = [*answer.tokens.prompt]
        for token in answer.tokens.response:
            assert token == plain(ids)[-1].argmax()
            ids.append(token)


def test_decoding_and_teacher_forcing_give_the_same_logprobs(resident, adapter, monkeypatch):
    steps = []
    original = rollout.inverse_cdf

    def spy(logits, numbers, temperature):
        tokens = original(logits, numbers, temperature)
        logp = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        steps.append(np.array(mx.take_along_axis(logp, tokens[:, None], axis=-1)[:, 0]))
        return tokens

    monkeypatch.setattr(rollout, "inverse_cdf", spy)
    monkeypatch.setattr(rollout, "GONE", 0)
    answers = sample(resident, (adapter,), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS)
    # One group, shortest prompts first. At step t its rows are, in order, the answers that are longer than t and those
    # that have just ended: the step was begun before their ends were seen.
    order = sorted(range(6), key=lambda p: (len(PROMPTS[p].ids), p))
    rows = [3 * p + k for p in order for k in range(3)]
    lengths = [len(a.tokens.response) for a in answers]
    decoded = np.zeros((18, STEPS))
    for t, values in enumerate(steps):
        decoded[[r for r in rows if lengths[r] >= max(t, 1)], t] = values
    decoded[np.arange(STEPS) >= np.array(lengths)[:, None]] = 0
    forced = np.array(policy_stats(resident, (adapter,), pad([a.tokens for a in answers])).logprobs_BT)
    np.testing.assert_allclose(forced[:, :STEPS], decoded, atol=1e-4)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_an_end_changes_nothing_for_the_others(resident, temperature):
    # Without end tokens no row ever leaves the batch; cut at their first end, the answers are those with end tokens.
    def answers(model):
        return sample(model, (), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS, temperature=temperature)

    endless = [a.tokens.response for a in answers(replace(resident, end_tokens=frozenset()))]
    assert all(len(ids) == STEPS for ids in endless)
    ends = frozenset({1, *(endless[row][t] for row, t in ((0, 0), (7, 9), (17, 20)))})  # at the first token, and later
    cut = [next((ids[: t + 1] for t, token in enumerate(ids) if token in ends), ids) for ids in endless]
    assert len({len(ids) for ids in cut}) > 3
    assert [a.tokens.response for a in answers(replace(resident, end_tokens=ends))] == cut


def test_adapters_change_the_draws(resident, adapter, drawn):
    assert sample(resident, (adapter,), PROMPTS, draw=DRAW, answers=3, max_new_tokens=STEPS) != drawn


def test_tick_counts_prompts(resident):
    seen = []
    sample(resident, (), PROMPTS, draw=DRAW, answers=2, max_new_tokens=2, max_rows=4, tick=seen.append)
    assert seen == [2, 4, 6]
