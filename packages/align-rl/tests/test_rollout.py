import mlx.core as mx
import numpy as np
import pytest

from align_mlx.batching import pad
from align_mlx.chat import Tokens
from align_rl.methods.actor import actor_adapter, surrogate
from align_rl.rollout import by_budget, compare


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_everything_an_update_needs(resident, configure, start, scorer, temperature):
    config = configure("grpo", temperature=temperature)
    _, state, rollout = start(config)
    actor = actor_adapter(state.params, config)
    assert rollout.prompts.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert len({a.tokens.response for a in rollout.answers}) > 6
    for i, answer in enumerate(rollout.answers):
        row, n = answer.tokens, len(answer.tokens.response)
        assert row.prompt == rollout.answers[3 * (i // 3)].tokens.prompt
        for found, worn in ((rollout.logprobs_BT, (actor,)), (rollout.ref_logprobs_BT, ())):
            logits = np.array(resident.logits(resident.hidden(mx.array([row.ids]), worn))[0], np.float64)
            logp = log_softmax(logits[len(row.prompt) - 1 : -1] / temperature)
            np.testing.assert_allclose(found[i, :n], logp[range(n), row.response], atol=5e-5)
            assert not mx.any(found[i, n:]).item()
    np.testing.assert_allclose(rollout.scores_B, scorer.score([a.tokens for a in rollout.answers]))
    assert rollout.truncated_B.tolist() == [float(a.tokens.response[-1] not in (1, 5)) for a in rollout.answers]


@pytest.mark.parametrize("budget", [64, 16384])
def test_exact_kl_sums_over_the_vocabulary(resident, configure, start, budget):
    # In float64 and with the whole vocabulary at once: Σ_v p (log p − log q) before every response token.
    config = configure("grpo", kl_estimator="exact", temperature=0.8, token_budget=budget)
    _, state, rollout = start(config)
    actor = actor_adapter(state.params, config)
    for i, answer in enumerate(rollout.answers):
        ids, n = mx.array([answer.tokens.ids]), len(answer.tokens.response)
        logits = [np.array(resident.logits(resident.hidden(ids, worn))[0], np.float64) for worn in ((actor,), ())]
        p, q = (log_softmax(z[-n - 1 : -1] / 0.8) for z in logits)
        np.testing.assert_allclose(rollout.kl_BT[i, :n], (np.exp(p) * (p - q)).sum(axis=-1), rtol=1e-3, atol=2e-5)
        assert not mx.any(rollout.kl_BT[i, n:]).item()


def test_an_untrained_actor_is_the_reference(configure, start):
    _, _, rollout = start(configure("grpo"), moved=False)
    np.testing.assert_array_equal(rollout.logprobs_BT, rollout.ref_logprobs_BT)


@pytest.mark.parametrize("budget", [64, 200, 16384])
def test_the_first_minibatch_has_ratio_one(resident, configure, start, budget):
    # Old log-probs were taken after sampling, at the same parameters but in other batches: |ratio − 1| < 1e-4 in fp32.
    config = configure("grpo", token_budget=budget)
    method, state, rollout = start(config)
    experience = method.experience(rollout, state.params, 0.0)
    for rows in ([0], [3, 7, 1], range(12)):
        part = experience.part(list(rows))
        _, stats, facts = surrogate(resident, config, state.params, part)
        error = mx.abs(mx.exp(stats.logprobs_BT - part.old_logprobs_BT) - 1) * part.batch.mask_BT
        assert error.max().item() < 1e-4
        assert facts["ratio_error"].max().item() < 1e-4


@pytest.mark.parametrize("budget", [1, 50, 100, 10_000])
def test_by_budget_puts_every_row_back_in_its_place(budget):
    rng = np.random.default_rng(3)
    rows = [Tokens((1,) * p, tuple(range(10, 10 + r))) for p, r in rng.integers(1, 40, (9, 2)).tolist()]
    batch = pad(rows)

    def compute(part):
        targets_BT = part.targets_BT * part.mask_BT
        return targets_BT, -targets_BT

    targets_BT, opposite_BT = by_budget(compute, rows, batch, budget)
    np.testing.assert_array_equal(targets_BT, batch.targets_BT * batch.mask_BT)
    np.testing.assert_array_equal(opposite_BT, -targets_BT)


@pytest.mark.parametrize("estimator", ["k3", "exact"])
def test_the_token_budget_changes_no_logprob_and_no_kl(resident, configure, start, estimator):
    config = configure("grpo", kl_estimator=estimator)
    _, state, rollout = start(config)
    actor = actor_adapter(state.params, config)
    found = by_budget(lambda part: compare(resident, actor, part, config), rollout.rows, rollout.batch, 64)
    for array, whole in zip(found, (rollout.logprobs_BT, rollout.ref_logprobs_BT, rollout.kl_BT), strict=True):
        np.testing.assert_allclose(array, whole, atol=2e-5)
    assert mx.abs(rollout.kl_BT).max().item() > 1e-3


def test_k3_is_held_by_default(configure, start):
    _, _, rollout = start(configure("grpo"))
    d = np.array(rollout.ref_logprobs_BT, np.float64) - np.array(rollout.logprobs_BT)
    np.testing.assert_allclose(rollout.kl_BT, np.exp(d) - d - 1, atol=1e-5)


def test_a_part_is_the_rollout_of_those_answers(configure, start):
    """Answers 1, 4 and 5 of 12: their own numbers, padded no wider than they need; prompts keep their positions."""
    _, _, rollout = start(configure("grpo"))
    part = rollout.part([1, 4, 5])
    assert part.prompts.tolist() == [0, 1, 1]
    assert part.answers == [rollout.answers[i] for i in (1, 4, 5)]
    for row, i in enumerate((1, 4, 5)):
        tokens = len(rollout.answers[i].tokens.response)
        assert part.scores_B[row] == rollout.scores_B[i]
        assert part.batch.mask_BT[row].sum().item() == tokens
        for name in ("logprobs_BT", "ref_logprobs_BT", "kl_BT"):
            assert mx.array_equal(getattr(part, name)[row, :tokens], getattr(rollout, name)[i, :tokens])
            assert getattr(part, name).shape == part.batch.mask_BT.shape
