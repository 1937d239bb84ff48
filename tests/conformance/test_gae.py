"""PPO's advantages: rewards, GAE, returns, whitening — against the definition as a sum of k-step estimates."""

import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.gae import eos_rewards, gae
from align_rl.algorithms.masked import masked_mean, masked_whiten
from align_rl.algorithms.ppo import explained_variance, sampled_entropy, value_loss
from conformance.reference import gae as reference
from conformance.reference import ppo
from conformance.specimen import padded

LENGTHS, WIDTH = (1, 7, 4, 12), 16
LARGE = 1e3  # on the padding: what reads it shows


def drawn(seed):
    """One random array an answer, and the same padded with a number that would show."""
    rng = np.random.default_rng(seed)
    answers = [rng.normal(size=n).astype(np.float32).astype(np.float64) for n in LENGTHS]
    return answers, padded(answers, WIDTH, LARGE)


MASK = padded([np.ones(n) for n in LENGTHS], WIDTH)


def check(found_BT, expected, atol=1e-5):
    """The real tokens as expected, and 0 on the padding."""
    np.testing.assert_allclose(found_BT, padded(expected, WIDTH), rtol=0, atol=atol)


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1.0, 0.95), (1.0, 1.0), (0.6, 0.9), (0.9, 0.0), (0.0, 0.5)])
def test_gae_is_the_weighted_average_of_k_step_estimates(gamma, lam):
    """PPO: γ and λ from config, each in its place; V(s_t) before token t; V = 0 behind the last token; no padding."""
    (rewards, rewards_BT), (values, values_BT) = drawn(1), drawn(2)
    advantages, returns = gae(rewards_BT, values_BT, MASK, gamma=gamma, lam=lam)
    expected = [reference.advantages(r, v, gamma, lam) for r, v in zip(rewards, values, strict=True)]
    check(advantages, expected)
    check(returns, [a + v for a, v in zip(expected, values, strict=True)])  # returns = advantages + V


def test_a_full_width_answer_has_nothing_behind_it():
    """PPO: no bootstrap after the last token, also where the array ends there: A = r − V with one token."""
    advantages, returns = gae(mx.array([[2.0]]), mx.array([[0.5]]), mx.array([[1.0]]), gamma=0.9, lam=0.9)
    assert (advantages.item(), returns.item()) == (1.5, 2.0)


def test_the_reward_is_on_the_last_real_token():
    """PPO: EOS-only reward."""
    scores = [3.0, -1.0, 0.5, 2.0]
    check(eos_rewards(mx.array(scores), MASK), [ppo.rewards(s, n) for s, n in zip(scores, LENGTHS, strict=True)], 0)


def test_whitening_is_over_real_tokens():
    """PPO: whitening over real tokens only; standard deviation, not variance."""
    answers, answers_BT = drawn(3)
    answers, answers_BT = [7.0 + 3.0 * a for a in answers], 7.0 + 3.0 * answers_BT
    check(masked_whiten(answers_BT, MASK), ppo.whiten(answers))
    assert masked_mean(answers_BT, MASK).item() == pytest.approx(np.concatenate(answers).mean(), rel=1e-6)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_value_loss(clip):
    """PPO: value clip optional; the worse of the two errors."""
    drawn_three = [drawn(seed) for seed in (4, 5, 6)]
    found = value_loss(*(array_BT for _, array_BT in drawn_three), value_clip=clip)
    expected = [
        np.array([ppo.value_loss(*token, clip) for token in zip(*answer, strict=True)])
        for answer in zip(*(answers for answers, _ in drawn_three), strict=True)
    ]
    check(found * MASK, expected)


def test_explained_variance():
    """PPO: explained variance logged, over real tokens."""
    (values, values_BT), (returns, returns_BT) = drawn(7), drawn(8)
    found = explained_variance(values_BT, returns_BT, MASK).item()
    assert found == pytest.approx(ppo.explained_variance(values, returns), rel=1e-5)


def test_sampled_entropy_is_the_seeds():
    """PPO, study: the option `entropy=sampled` is −p log p of the sampled token: ½ ln 2 at p = ½."""
    found = sampled_entropy(mx.log(mx.array([[0.5, 0.25]]))).tolist()[0]
    assert found == pytest.approx([0.5 * np.log(2), 0.25 * np.log(4)], rel=1e-6)
