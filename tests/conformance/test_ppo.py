"""PPO as a whole: from a rollout to advantages, loss, and the gradients of actor, critic and head."""

import mlx.core as mx
import numpy as np
import pytest

from align_rl.config import PPOConfig
from align_rl.loop import accumulate
from align_rl.methods.ppo import PPO
from conformance import methods
from conformance.methods import LORA, NOWHERE, SCALE, k1_of, make_scene, make_scorer, moved, under
from conformance.reference import bradley_terry, logprobs, ppo
from conformance.reference.transformer import Lora
from conformance.slopes import assert_gradients
from conformance.specimen import as_lora, assert_close, float64, ragged, specimen
from tiny.losses import whole_loss

PROMPTS, RESPONSES = [3, 14, 1, 6, 2], [9, 1, 12, 5, 18]
OPTIONS = {
    "defaults": {},
    "every option": {
        "clip_range": 0.1,
        "clip_range_high": 0.3,
        "value_clip": 0.05,
        "entropy_coef": 0.2,
        "value_coef": 0.8,
        "gae_gamma": 0.9,
        "gae_lambda": 0.7,
        "temperature": 0.7,
        "truncation_penalty": 0.6,
        "mask_truncated": True,
    },
    "no whitening, sampled entropy, γ = 1": {
        "whiten_advantages": False,
        "entropy": "sampled",
        "entropy_coef": 0.3,
        "gae_gamma": 1.0,
        "critic_init": "zero",
    },
}
PENALTY = {"defaults": 0.0, "every option": 0.15, "no whitening, sampled entropy, γ = 1": 0.0}


class Case:
    """A method, its parameters when it sampled (`before`) and some updates later (`now`), and what the papers say."""

    def __init__(self, name):
        self.config, self.kl_coef = PPOConfig(**{**NOWHERE, **LORA, **OPTIONS[name]}), PENALTY[name]
        self.model = specimen("gemma")
        self.method = PPO(self.config, self.model.resident, make_scorer(self.model, 4))
        # A zero head would have no gradient behind it; the tests look a little later.
        self.before = moved(self.method.params(mx.random.key(1)), seed=2, size=0.1)
        self.now = moved(self.before, seed=3)
        actor = under(float64(self.before), "actor.")
        self.scene = make_scene(self.model, actor, PROMPTS, RESPONSES, seed=5, temperature=self.config.temperature)
        self.experience = self.method.experience(self.scene.rollout, self.before, self.kl_coef)

    def expected(self):
        """Advantages (as they are learned), returns and old values."""
        config, scene = self.config, self.scene
        scores = methods.calibrated(scene, 0.0, config.truncation_penalty)
        rewards = [
            ppo.rewards(score, len(k1), self.kl_coef * k1) for score, k1 in zip(scores, k1_of(scene), strict=True)
        ]
        values = methods.values(self.model, scene.rows, float64(self.before), self.method.critic_scale)
        advantages, returns = ppo.advantages(rewards, values, config.gae_gamma, config.gae_lambda)
        if config.whiten_advantages:
            learned = iter(ppo.whiten([advantages[i] for i in self.learning()]))
            advantages = [next(learned) if i in self.learning() else a for i, a in enumerate(advantages)]
        return advantages, returns, values

    def learning(self):
        """The answers that learn."""
        return [i for i, cut in enumerate(self.scene.truncated) if not (cut and self.config.mask_truncated)]

    def loss(self, params):
        """The reference's whole loss."""
        config, rows = self.config, [self.scene.rows[i] for i in self.learning()]
        actor = Lora(under(params, "actor."), SCALE)
        distributions = methods.token_distributions(self.model, rows, [actor], config.temperature)
        now = [logprobs.of_response(d, row.response) for d, row in zip(distributions, rows, strict=True)]
        entropies = [logprobs.entropy(d) for d in distributions]
        if config.entropy == "sampled":
            entropies = [-np.exp(p) * p for p in now]
        return ppo.loss(
            now,
            [self.scene.old[i] for i in self.learning()],
            [self.advantages[i] for i in self.learning()],
            methods.values(self.model, rows, params, self.method.critic_scale),
            [self.returns[i] for i in self.learning()],
            [self.values[i] for i in self.learning()],
            entropies,
            clip=config.clip,
            value_clip=config.value_clip,
            value_coef=config.value_coef,
            entropy_coef=config.entropy_coef,
        )

    def solve(self):
        """Compute what the loss needs, once."""
        self.advantages, self.returns, self.values = self.expected()
        return self


@pytest.fixture(scope="module", params=list(OPTIONS))
def case(request):
    return Case(request.param).solve()


def test_experience(case):
    """PPO: values aligned with states, returns before whitening, whitening over learning tokens, penalties signed."""
    rows, found = case.scene.rows, case.experience
    real = np.array(found.batch.mask_BT) > 0
    assert_close(ragged(found.old_values_BT, rows), case.values, atol=2e-5)
    assert_close(ragged(found.returns_BT, rows), case.returns, atol=5e-5)
    learned = [a if i in case.learning() else 0 * a for i, a in enumerate(case.advantages)]
    assert_close(ragged(found.advantages_BT, rows), learned, atol=5e-5)
    assert_close(ragged(found.old_logprobs_BT, rows), case.scene.old, atol=0)
    assert not np.array(found.advantages_BT)[~real].any()
    assert found.facts["explained_variance"] == pytest.approx(
        ppo.explained_variance(case.values, case.returns), abs=1e-4
    )
    calibrated = methods.calibrated(case.scene, 0.0, case.config.truncation_penalty)
    assert found.facts["reward_calibrated"] == pytest.approx(calibrated.mean(), abs=1e-6)


def test_diagnosis_is_without_the_penalty(case):
    """PPO, study: evaluation points keep values and advantages of each token, here with no KL in the reward."""
    found = case.method.diagnose(case.scene.rollout, case.before)
    assert_close(ragged(found["values"], case.scene.rows), case.values, atol=2e-5)
    plain = case.method.experience(case.scene.rollout, case.before, 0.0)
    np.testing.assert_array_equal(found["advantages"], plain.advantages_BT)


def test_whole_loss(case):
    """PPO: L_CLIP + c₁ L_value − c₂ H over the tokens that learn, away from the old policy; what is logged of it."""
    weights_BT = case.method.weights(case.experience)
    loss, facts = whole_loss(case.method, case.now, case.experience, weights_BT)
    assert loss.item() == pytest.approx(case.loss(float64(case.now)), rel=1e-5, abs=1e-5)
    rows = [case.scene.rows[i] for i in case.learning()]
    actor = Lora(under(float64(case.now), "actor."), SCALE)
    distributions = methods.token_distributions(case.model, rows, [actor], case.config.temperature)
    new = np.concatenate([logprobs.of_response(d, r.response) for d, r in zip(distributions, rows, strict=True)])
    old = np.concatenate([case.scene.old[i] for i in case.learning()])
    ratio, (low, high) = np.exp(new - old), case.config.clip
    outside = (ratio < 1 - low) | (ratio > 1 + high)
    assert 0.2 < outside.mean() < 0.8
    assert facts["clip_fraction"].item() == pytest.approx(outside.mean(), abs=1e-6)
    assert facts["approx_kl"].item() == pytest.approx((ratio - 1 - np.log(ratio)).mean(), rel=1e-4)
    everything = methods.token_logprobs(case.model, case.scene.rows, [actor], case.config.temperature)
    errors = np.abs(np.exp(np.concatenate(everything) - np.concatenate(case.scene.old)) - 1)  # also what is masked
    assert facts["ratio_error"].item() / facts["ratio_tokens"].item() == pytest.approx(errors.mean(), rel=1e-4)
    assert facts["ratio_error_max"].item() == pytest.approx(errors.max(), rel=1e-4)
    entropy = np.concatenate([logprobs.entropy(d) for d in distributions]).mean()
    assert facts["entropy"].item() == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("budget", [64, 16384])
def test_gradient_of_actor_critic_and_head(case, budget):
    """PPO: finite differences of the whole loss for every trainable tensor, whole or in micro-batches."""
    config = case.config.model_copy(update={"token_budget": budget})
    everything = range(len(case.scene.rows))
    grads, facts = accumulate(case.now, case.experience, everything, case.method, config)
    params = float64(case.now)
    assert facts["loss"] == pytest.approx(case.loss(params), rel=1e-5, abs=1e-5)
    assert_gradients(grads, case.loss, params)


def test_the_critic_starts_as_the_reward_model_or_as_zero():
    """PPO: value head zero-initialised, or the calibrated reward model: V of an answer's last state is its reward."""
    case = Case("defaults")
    fresh = case.method.params(mx.random.key(0))
    scorer, row = case.method.scorer, case.scene.rows[0]
    head = float64(scorer.head)
    raw = bradley_terry.score(
        case.model.weights,
        case.model.config,
        row.ids[:-1],
        [as_lora(scorer.adapter)],
        head["weight"][0],
        head["bias"][0],
    )
    found = ragged(case.method.values(fresh, case.experience.batch), case.scene.rows)[0]
    assert found[-1] == pytest.approx((raw - 0.4) / 1.7, abs=2e-5)
    zero = PPO(case.config.model_copy(update={"critic_init": "zero"}), case.model.resident, scorer)
    assert not mx.any(zero.values(zero.params(mx.random.key(0)), case.experience.batch) != 0).item()


def test_actor_and_critic_are_apart():
    """PPO: the critic has an adapter of its own over the shared base: neither moves the other's part."""
    case = Case("defaults")
    other = {k: v + 0.1 if k.startswith("actor.") else v for k, v in case.before.items()}
    batch = case.experience.batch
    np.testing.assert_array_equal(case.method.values(case.before, batch), case.method.values(other, batch))
    spread = {k: v.shape for k, v in case.before.items() if k.startswith("critic.")}
    assert spread
    assert {k.removeprefix("critic.") for k in spread} == set(under(case.before, "actor."))
