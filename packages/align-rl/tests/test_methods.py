from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from align_mlx import batching
from align_mlx.chat import Tokens
from align_rl.methods.actor import actor_adapter, part_of, pull_back
from tiny.losses import whole_loss


def k1_sums(rollout):
    """Σ_t (log p − log q) of each answer, float64."""
    return (np.array(rollout.logprobs_BT, np.float64) - np.array(rollout.ref_logprobs_BT)).sum(axis=1)


def test_part_of_strips_its_prefix():
    parts = {"actor.a": mx.array(1), "critic.a": mx.array(2)}
    assert {k: v.item() for k, v in part_of(parts, "critic.").items()} == {"a": 2}


def test_pull_back_scales_the_product(resident, configure, start):
    config = configure("ppo")
    _, state, _ = start(config)
    before, others = actor_adapter(state.params, config), part_of(state.params, "critic.")
    pull_back(state, 0.3)
    tokens = mx.array([[2, 9, 10, 11]])
    found = resident.hidden(tokens, (actor_adapter(state.params, config),))
    np.testing.assert_allclose(found, resident.hidden(tokens, (before.scaled(0.3),)), atol=1e-5)
    assert all(mx.array_equal(v, others[k]) for k, v in part_of(state.params, "critic.").items())


class TestGRPO:
    def test_advantages_step_by_step(self, configure, start):
        config = configure("grpo", truncation_penalty=0.4)
        method, state, rollout = start(config)
        experience = method.experience(rollout, state.params, 0.0)
        # Raw scores of mean 1.5, std 2 on reference answers go to mean 3, std 1; then the seed's normaliser.
        scores = 3.0 + (rollout.scores_B - 1.5) / 2.0 - 0.4 * rollout.truncated_B
        mean, std = 0.99 * 3 + 0.01 * scores.mean(), 0.99 * 1 + 0.01 * scores.std()
        normal = np.clip(3.0 + (scores - mean) / std, 1.0, 5.0).reshape(4, 3)
        advantages = (normal - normal.mean(axis=1, keepdims=True)).reshape(-1)
        expected = advantages[:, None] * np.array(rollout.batch.mask_BT)
        np.testing.assert_allclose(experience.advantages_BT, expected, atol=1e-5)
        assert np.abs(expected).max() > 0.1
        assert experience.facts["reward_calibrated"] == pytest.approx(scores.mean(), rel=1e-5)
        assert method.memory()["normalizer"] == pytest.approx([mean, std])

    def test_no_normaliser(self, configure, start):
        method, state, rollout = start(configure("grpo", score_normalizer="none"))
        scores = ((rollout.scores_B - 1.5) / 2.0).reshape(4, 3)
        expected = (scores - scores.mean(axis=1, keepdims=True)).reshape(-1)
        found = method.experience(rollout, state.params, 0.0).advantages_BT
        np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)

    def test_reward_penalty_is_the_answers_summed_log_ratio(self, configure, start):
        method, state, rollout = start(configure("grpo", score_normalizer="none"))
        scores = ((rollout.scores_B - 1.5) / 2.0 - 0.7 * k1_sums(rollout)).reshape(4, 3)
        expected = (scores - scores.mean(axis=1, keepdims=True)).reshape(-1)
        found = method.experience(rollout, state.params, 0.7).advantages_BT
        np.testing.assert_allclose(found[:, 0], expected, atol=2e-4)

    def test_truncated_answers_can_be_masked(self, configure, start):
        method, state, rollout = start(configure("grpo", mask_truncated=True, max_response_length=4))
        assert 0 < rollout.truncated_B.sum() < 12
        found = np.array(method.experience(rollout, state.params, 0.0).advantages_BT)
        assert not found[rollout.truncated_B > 0].any()
        assert found[rollout.truncated_B == 0].any()

    def test_memory_survives_recall(self, configure, start):
        config = configure("grpo")
        method, state, rollout = start(config)
        method.experience(rollout, state.params, 0.0)
        other, _, _ = start(config)
        other.recall(method.memory())
        assert other.normalizer == method.normalizer

    def test_silent_groups_are_counted_before_and_after_the_clip(self, configure, start):
        # Scores far above 5 are all clipped to 5: groups that had variance lose it.
        method, state, rollout = start(configure("grpo"))
        rollout.scores_B[:] = np.where(rollout.prompts < 3, 100.0 + np.arange(12), 1.0 + np.arange(12) % 3)
        facts = method.experience(rollout, state.params, 0.0).facts
        assert (facts["silent_groups"], facts["groups_silenced_by_clip"]) == (3, 3)

    @pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "gspo"])
    def test_loss_at_the_old_policy(self, configure, start, loss_type):
        # Ratio 1 everywhere: loss = −Σ w·A, whatever the clip.
        method, state, rollout = start(configure("grpo", loss_type=loss_type))
        experience = method.experience(rollout, state.params, 0.0)
        weights = method.weights(experience)
        loss, facts = whole_loss(method, state.params, experience, weights)
        expected = -(np.array(weights, np.float64) * np.array(experience.advantages_BT)).sum()
        assert loss.item() == pytest.approx(expected, abs=1e-4)
        assert facts["clip_fraction"].item() == 0


class TestPPO:
    def test_a_critic_from_the_reward_model_scores_prefixes(self, configure, start, scorer):
        # V(s_t) is the calibrated reward of everything before token t: prompt + response[:t], score at its last token.
        method, state, rollout = start(configure("ppo"))
        values = np.array(method.values(state.params, rollout.batch))
        for i, answer in enumerate(rollout.answers):
            row, n = answer.tokens, len(answer.tokens.response)
            prefixes = [Tokens(row.prompt, row.response[:t]) for t in range(n)]
            np.testing.assert_allclose(values[i, :n], (scorer.score(prefixes) - 1.5) / 2.0, atol=1e-4)
            assert not values[i, n:].any()

    def test_a_zero_critic_says_zero(self, configure, start):
        method, state, rollout = start(configure("ppo", critic_init="zero"))
        assert not mx.any(method.values(state.params, rollout.batch)).item()

    def experience(self, start, config, kl_coef=0.0):
        method, state, rollout = start(config)
        return method, rollout, method.experience(rollout, state.params, kl_coef)

    def expected(self, rollout, values, gamma, lam, kl_coef=0.0, penalty=0.0):
        """Advantages and returns by the recursion backwards from the last token, float64."""
        logp, ref = (np.array(a, np.float64) for a in (rollout.logprobs_BT, rollout.ref_logprobs_BT))
        advantages, returns = np.zeros(logp.shape), np.zeros(logp.shape)
        for i, answer in enumerate(rollout.answers):
            ahead, advantage = 0.0, 0.0
            for t in reversed(range(len(answer.tokens.response))):
                reward = -kl_coef * (logp[i, t] - ref[i, t])
                if t == len(answer.tokens.response) - 1:
                    reward += (rollout.scores_B[i] - 1.5) / 2.0 - penalty * answer.truncated
                advantage = reward + gamma * ahead - values[i, t] + gamma * lam * advantage
                ahead = values[i, t]
                advantages[i, t], returns[i, t] = advantage, advantage + values[i, t]
        return advantages, returns

    def test_returns_are_taken_before_whitening(self, configure, start):
        config = configure("ppo", truncation_penalty=0.3)
        _, rollout, found = self.experience(start, config)
        advantages, returns = self.expected(rollout, np.array(found.old_values_BT), 0.99, 0.95, penalty=0.3)
        np.testing.assert_allclose(found.returns_BT, returns, atol=1e-4)
        real = np.array(rollout.batch.mask_BT) > 0
        white = np.where(real, (advantages - advantages[real].mean()) / advantages[real].std(), 0.0)
        np.testing.assert_allclose(found.advantages_BT, white, atol=1e-3)

    def test_without_whitening_and_with_a_reward_penalty(self, configure, start):
        config = configure("ppo", whiten_advantages=False, gae_gamma=1.0, gae_lambda=0.5)
        _, rollout, found = self.experience(start, config, kl_coef=0.6)
        advantages, returns = self.expected(rollout, np.array(found.old_values_BT), 1.0, 0.5, kl_coef=0.6)
        np.testing.assert_allclose(found.advantages_BT, advantages, atol=2e-4)
        np.testing.assert_allclose(found.returns_BT, returns, atol=2e-4)

    def test_masked_answers_take_no_part_in_whitening(self, configure, start):
        config = configure("ppo", mask_truncated=True, max_response_length=4, batch_size=8)
        _, rollout, found = self.experience(start, config)
        kept = (np.array(rollout.batch.mask_BT) > 0) & (rollout.truncated_B[:, None] == 0)
        assert 0 < rollout.truncated_B.sum() < 8
        advantages = np.array(found.advantages_BT, np.float64)
        assert not advantages[~kept].any()
        assert advantages[kept].mean() == pytest.approx(0, abs=1e-5)
        assert advantages[kept].std() == pytest.approx(1, abs=1e-3)

    def test_loss_is_surrogate_plus_value_minus_entropy(self, resident, configure, start):
        config = configure("ppo", value_coef=0.7, entropy_coef=0.2)
        method, state, rollout = start(config)
        experience = method.experience(rollout, state.params, 0.0)
        loss, facts = whole_loss(method, state.params, experience, method.weights(experience))
        actor, policy, value, entropy, tokens = actor_adapter(state.params, config), 0.0, 0.0, 0.0, 0
        for i, answer in enumerate(rollout.answers):
            row, n = answer.tokens, len(answer.tokens.response)
            logits = np.array(resident.logits(resident.hidden(mx.array([row.ids]), (actor,)))[0], np.float64)
            logits = logits[len(row.prompt) - 1 : -1]
            logp = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            policy -= np.array(experience.advantages_BT, np.float64)[i, :n].sum()  # ratio 1
            error = np.array(experience.old_values_BT, np.float64)[i, :n] - np.array(experience.returns_BT)[i, :n]
            value += (error**2).sum()
            entropy -= (np.exp(logp) * logp).sum()
            tokens += n
        assert facts["value_loss"].item() == pytest.approx(value / tokens, rel=1e-4)
        assert facts["entropy"].item() == pytest.approx(entropy / tokens, rel=1e-4)
        assert loss.item() == pytest.approx((policy + 0.7 * value - 0.2 * entropy) / tokens, abs=1e-4)

    def test_entropy_as_the_seed_has_it(self, configure, start):
        # The two losses differ by their bonus alone; what is logged is the true entropy in both.
        losses, entropies = [], []
        for entropy in ("true", "sampled"):
            method, state, rollout = start(configure("ppo", entropy=entropy, entropy_coef=0.5))
            experience = method.experience(rollout, state.params, 0.0)
            loss, facts = whole_loss(method, state.params, experience, method.weights(experience))
            losses.append(loss.item())
            entropies.append(facts["entropy"].item())
        logp, real = np.array(rollout.logprobs_BT, np.float64), np.array(rollout.batch.mask_BT) > 0
        sampled = -(logp * np.exp(logp))[real].mean()
        assert losses[1] - losses[0] == pytest.approx(0.5 * (entropies[0] - sampled), rel=1e-3)
        assert entropies[0] == entropies[1]

    def test_diagnosis_is_values_and_advantages(self, configure, start):
        method, state, rollout = start(configure("ppo"))
        found = method.diagnose(rollout, state.params)
        experience = method.experience(rollout, state.params, 0.0)
        np.testing.assert_array_equal(found["values"], experience.old_values_BT)
        np.testing.assert_array_equal(found["advantages"], experience.advantages_BT)


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_masked_answers_give_no_gradient_at_all(configure, start, method):
    # Not through the entropy or the critic either, and not through a denominator: as if they had not been sampled.
    config = configure(method, mask_truncated=True, max_response_length=4, batch_size=8)
    trainer, state, rollout = start(config)
    kept = np.flatnonzero(rollout.truncated_B == 0)
    assert 0 < len(kept) < len(rollout.answers)
    whole = trainer.experience(rollout, state.params, 0.0)
    alone = whole.part(kept.tolist())
    found, expected = (
        mx.grad(lambda p, e=e: whole_loss(trainer, p, e, trainer.weights(e))[0])(state.params) for e in (whole, alone)
    )
    unmasked = replace(whole, learn_BT=rollout.batch.mask_BT)
    leaking = mx.grad(lambda p: whole_loss(trainer, p, unmasked, trainer.weights(unmasked))[0])(state.params)
    for name, value in expected.items():
        # Batches of other sizes are summed in another order, by kernels that differ between processors: rounding is
        # up to 1e-5 of the tensor's largest element, a leak is a share of the gradient.
        largest = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4 * largest, err_msg=name)
        assert np.abs(np.array(leaking[name]) - np.array(value)).max() > 0.1 * largest, name


ARRAYS = ("old_logprobs_BT", "advantages_BT", "returns_BT", "old_values_BT", "learn_BT")


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_part_of_an_experience_is_its_rows_padded_no_wider_than_they_need(configure, start, method, monkeypatch):
    """Answers of 1 to 40 tokens, padded to 16 as on a GPU: the two shortest need one bucket, and the rest are wider; a
    part of a part is one.
    """
    monkeypatch.setattr(batching, "backend", lambda: "cuda")
    config = configure(method, max_seq_length=60, max_response_length=40, mask_truncated=True, batch_size=8)
    trainer, state, rollout = start(config)
    whole = trainer.experience(rollout, state.params, 0.0)
    lengths = [len(row.response) for row in rollout.rows]
    short = sorted(range(len(lengths)), key=lengths.__getitem__)[1::-1]  # not in order
    assert lengths[short[0]] <= 16 < max(lengths)
    outer = [len(lengths) - 1, *short, 0]
    for part in (whole.part(short), whole.part(outer).part([1, 2])):
        assert part.rows == [rollout.rows[i] for i in short]
        assert part.batch.mask_BT.shape == (2, 16)
        assert part.batch.tokens_BL.shape[1] == -(-max(len(row) for row in part.rows) // 16) * 16
        for i, row in enumerate(part.rows):
            assert part.batch.tokens_BL[i, : len(row)].tolist() == list(row.ids)
            assert part.batch.starts_B[i].item() == len(row.prompt)
        for name in ARRAYS:
            assert getattr(part, name).shape == (2, 16)
            np.testing.assert_array_equal(getattr(part, name), np.array(getattr(whole, name))[short, :16])


def test_a_part_shares_the_prompts_that_its_own_rows_share(configure, start):
    method, state, rollout = start(configure("grpo"))
    whole = method.experience(rollout, state.params, 0.0)
    group, apart = whole.part([3, 4, 5]), whole.part([0, 3, 6])
    assert group.batch.prompt_B.tolist() == [0, 0, 0]
    assert group.batch.prompts_PL[0, : len(group.rows[0].prompt)].tolist() == list(group.rows[0].prompt)
    assert apart.batch.prompts_PL is None
