"""GRPO as a whole: from a rollout of groups to advantages, loss and the actor's gradients, for every loss type."""

import mlx.core as mx
import numpy as np
import pytest

from align_mlx.adapters import Params
from align_rl.config import GRPOConfig
from align_rl.loop import accumulate
from align_rl.methods.grpo import GRPO
from conformance import methods
from conformance.methods import LORA, NOWHERE, SCALE, k1_of, make_scene, make_scorer, moved, under
from conformance.reference import grpo
from conformance.reference.transformer import Lora
from conformance.slopes import assert_gradients
from conformance.specimen import assert_close, float64, ragged, specimen

PROMPTS, K, RESPONSES = [3, 30], 3, [9, 1, 12, 5, 18, 2]
OPTIONS = {
    "grpo": {"clip_range": 0.15, "clip_range_high": 0.3},
    "dapo": {"clip_range": 0.1, "clip_range_high": 0.28, "mask_truncated": True, "truncation_penalty": 0.5},
    "dr_grpo": {"max_response_length": 20, "score_normalizer": "none", "mask_truncated": True},
    "gspo": {"clip_range": 0.1, "clip_range_high": 0.2, "scale_rewards": "group", "temperature": 0.7},
    "grpo, masked": {"loss_type": "grpo", "mask_truncated": True, "scale_rewards": "batch", "normalizer_alpha": 0.6},
}
PENALTY = {"dapo": 0.1}


class Case:
    """A method, its actor when it sampled (`before`) and some updates later (`now`), and what the papers say."""

    def __init__(self, name: str):
        self.config = GRPOConfig(**{**NOWHERE, **LORA, "K": K, "loss_type": name, **OPTIONS[name]})
        self.kl_coef = PENALTY.get(name, 0.0)
        self.model = specimen("gemma")
        self.method = GRPO(self.config, self.model.resident, make_scorer(self.model, 4).calibration)
        self.before: Params = moved(self.method.params(mx.random.key(1)), seed=2, size=0.1)
        self.now = moved(self.before, seed=3)
        actor = under(float64(self.before), "actor.")
        self.scene = make_scene(
            self.model, actor, PROMPTS, RESPONSES, answers=K, seed=6, temperature=self.config.temperature
        )
        scores = methods.calibrated(self.scene, 3.0, self.config.truncation_penalty)
        self.scores = scores - self.kl_coef * np.array([k1.sum() for k1 in k1_of(self.scene)])
        self.experience = self.method.experience(self.scene.rollout, self.before, self.kl_coef)
        self.normalizer = grpo.ScoreNormalizer(self.config.normalizer_alpha)
        rewards = self.scores if self.config.score_normalizer == "none" else self.normalizer(self.scores)
        self.advantages = np.concatenate(grpo.advantages(rewards.reshape(-1, K), self.config.scale_rewards))
        self.learns = [not (cut and self.config.mask_truncated) for cut in self.scene.truncated]

    def loss(self, params):
        """The reference's whole loss."""
        actor = Lora(under(params, "actor."), SCALE)
        return grpo.loss(
            methods.token_logprobs(self.model, self.scene.rows, [actor], self.config.temperature),
            self.scene.old,
            self.advantages,
            kind=self.config.loss_type,
            clip=self.config.clip,
            max_length=self.config.max_response_length,
            learns=self.learns,
        )


@pytest.fixture(scope="module", params=list(OPTIONS))
def case(request):
    return Case(request.param)


def test_experience(case):
    """GRPO: calibrated to mean 3, penalties off, normaliser with this batch in it, the group's mean subtracted."""
    found, rows = case.experience, case.scene.rows
    expected = [
        a * learns * np.ones(len(r.response)) for a, learns, r in zip(case.advantages, case.learns, rows, strict=True)
    ]
    assert_close(ragged(found.advantages_BT, rows), expected, atol=2e-5)
    assert_close(ragged(found.old_logprobs_BT, rows), case.scene.old, atol=0)
    assert not np.array(found.advantages_BT)[np.array(found.batch.mask_BT) == 0].any()
    assert found.facts["reward_calibrated"] == pytest.approx(case.scores.mean(), abs=1e-5)
    remembered = [3.0, 1.0] if case.config.score_normalizer == "none" else [case.normalizer.mean, case.normalizer.std]
    assert case.method.memory()["normalizer"] == pytest.approx(remembered, rel=1e-6)


@pytest.mark.parametrize("budget", [64, 112, 16384])
def test_whole_loss_and_gradient(case, budget):
    """GRPO: finite differences of the whole loss for every A and B, whole or in micro-batches; no KL in the loss.

    Groups read their prompt together (all six answers at once), or are cut apart (the second: 32 + 3 · 32 tokens).
    """
    assert case.experience.batch.prompts_PL is not None
    config = case.config.model_copy(update={"token_budget": budget})
    everything = range(len(case.scene.rows))
    grads, facts = accumulate(case.now, case.experience, everything, case.method, config)
    params = float64(case.now)
    assert facts["loss"] == pytest.approx(case.loss(params), rel=1e-5, abs=1e-5)
    assert_gradients(grads, case.loss, params)


def test_facts_are_means_over_the_tokens_that_learn(case):
    """PPO and GRPO: clip fraction, approximate KL and first ratio are logged as means of the chosen weighting."""
    everything = range(len(case.scene.rows))
    _, facts = accumulate(case.now, case.experience, everything, case.method, case.config)
    actor, (low, high) = Lora(under(float64(case.now), "actor."), SCALE), case.config.clip
    clipped, weights, distances = [], [], []
    new = methods.token_logprobs(case.model, case.scene.rows, [actor], case.config.temperature)
    for logp, old, learns in zip(new, case.scene.old, case.learns, strict=True):
        log_ratio = logp - old
        ratio = np.exp(log_ratio if case.config.loss_type != "gspo" else log_ratio.mean() + 0 * log_ratio)
        each = 1 / len(logp) if case.config.loss_type in ("grpo", "gspo") else 1.0
        clipped.append((ratio < 1 - low) | (ratio > 1 + high))
        distances.append(np.exp(log_ratio) - 1 - log_ratio)
        weights.append(learns * each * np.ones(len(logp)))
    weight = np.concatenate(weights)
    assert facts["clip_fraction"] == pytest.approx(np.average(np.concatenate(clipped), weights=weight), abs=1e-5)
    assert facts["approx_kl"] == pytest.approx(np.average(np.concatenate(distances), weights=weight), rel=1e-4)
    assert 0.2 < facts["clip_fraction"] < 0.9


def test_the_normaliser_lives_on():
    """GRPO: a second rollout meets the averages that the first left; a resumed run goes on with them."""
    case = Case("grpo")
    again = case.method.experience(case.scene.rollout, case.before, 0.0)
    rewards = case.normalizer(case.scores)
    expected = np.concatenate(grpo.advantages(rewards.reshape(-1, K)))
    np.testing.assert_allclose(again.advantages_BT[:, 0], expected, atol=2e-5)
    resumed = GRPO(case.config, case.model.resident, case.method.calibration)
    resumed.recall(case.method.memory())
    case.method.experience(case.scene.rollout, case.before, 0.0)
    resumed.experience(case.scene.rollout, case.before, 0.0)
    assert resumed.memory() == case.method.memory()


def test_groups_that_lose_their_variance_are_counted():
    """GRPO: zero-variance groups give no gradient and are counted, and so are those that the clip silences."""
    case = Case("grpo")
    # Calibrated, the first group's scores lie far above 5 and are all clipped to 5; the second is equal to begin with.
    case.scene.rollout.scores_B[:] = [90.0, 80.0, 70.0, 1.0, 1.0, 1.0]
    found = case.method.experience(case.scene.rollout, case.before, 0.0)
    assert not mx.any(found.advantages_BT != 0).item()
    assert (found.facts["silent_groups"], found.facts["groups_silenced_by_clip"]) == (2, 1)
    grads = mx.grad(lambda p: case.method.loss(p, found, case.method.weights(found))[0])(case.now)
    assert not any(mx.any(g != 0).item() for g in grads.values())
