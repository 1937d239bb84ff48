import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.gae import eos_rewards, gae


def by_definition(rewards, values, gamma, lam):
    """Eq. 16 of arXiv 1506.02438 as it is introduced there: the λ-weighted mean of the k-step advantages, float64.

    A⁽ᵏ⁾ = r_t + γ r_{t+1} + … + γᵏ V(s_{t+k}) − V(s_t); the last one (to the end, V = 0) takes all weight that is left.
    """
    n = len(rewards)
    advantages = np.zeros(n)
    for t in range(n):
        for k in range(1, n - t + 1):
            steps = sum(gamma**i * rewards[t + i] for i in range(k))
            ahead = gamma**k * values[t + k] if t + k < n else 0.0
            weight = lam ** (k - 1) * (1 - lam if t + k < n else 1.0)
            advantages[t] += weight * (steps + ahead - values[t])
    return advantages


def test_three_tokens_by_hand():
    # γ 0.99, λ 0.95, γλ 0.9405; rewards 0 0 1, values 0.5 0.4 0.3.
    # δ₂ = 1 − 0.3 = 0.7; δ₁ = 0.99·0.3 − 0.4 = −0.103; δ₀ = 0.99·0.4 − 0.5 = −0.104.
    # A₂ = 0.7; A₁ = −0.103 + 0.9405·0.7 = 0.55535; A₀ = −0.104 + 0.9405·0.55535 = 0.418306675. Returns: A + V.
    one = mx.ones((1, 3))
    advantages, returns = gae(mx.array([[0.0, 0, 1]]), mx.array([[0.5, 0.4, 0.3]]), one, gamma=0.99, lam=0.95)
    np.testing.assert_allclose(advantages, [[0.418306675, 0.55535, 0.7]], atol=1e-6)
    np.testing.assert_allclose(returns, [[0.918306675, 0.95535, 1.0]], atol=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (1.0, 1.0), (0.9, 0.0), (1.0, 0.5), (0.0, 0.95)])
def test_against_the_definition(gamma, lam):
    rng = np.random.default_rng(0)
    lengths, width = [9, 1, 4, 12], 12
    rewards, values = rng.normal(size=(2, 4, width))  # padding holds numbers too: they must not be read
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.float64)
    found = gae(*(mx.array(a, mx.float32) for a in (rewards, values, mask)), gamma=gamma, lam=lam)
    advantages, returns = (np.array(a) for a in found)
    for i, n in enumerate(lengths):
        expected = by_definition(rewards[i, :n], values[i, :n], gamma, lam)
        np.testing.assert_allclose(advantages[i, :n], expected, atol=1e-5)
        np.testing.assert_allclose(returns[i, :n], expected + values[i, :n], atol=1e-5)
        assert not advantages[i, n:].any()
        assert not returns[i, n:].any()


def test_padding_may_hold_anything():
    mask = mx.array([[1.0, 1, 0, 0]])
    rewards, values = mx.array([[0.0, 1, mx.nan, mx.inf]]), mx.array([[0.2, 0.3, mx.nan, 1e30]])
    padded = gae(rewards, values, mask, gamma=0.99, lam=0.95)
    bare = gae(rewards[:, :2], values[:, :2], mask[:, :2], gamma=0.99, lam=0.95)
    for a, b in zip(padded, bare, strict=True):
        np.testing.assert_array_equal(a[:, :2], b)
        assert not mx.any(a[:, 2:]).item()


def test_lambda_one_is_the_discounted_return_minus_the_value():
    # Return from token t of a reward of 2 on the last of 4 tokens: 2·0.5^(3−t).
    values = mx.array([[0.1, -0.4, 0.7, 0.2]])
    rewards = mx.array([[0.0, 0, 0, 2]])
    _, returns = gae(rewards, values, mx.ones((1, 4)), gamma=0.5, lam=1.0)
    np.testing.assert_allclose(returns, [[0.25, 0.5, 1.0, 2.0]], atol=1e-6)


def test_a_perfect_critic_leaves_no_advantage():
    # A chain whose value is known: V(s_t) = γ^(3−t) · r. Every δ is 0.
    values = mx.array([[0.9**3, 0.9**2, 0.9, 1.0]])
    advantages, _ = gae(mx.array([[0.0, 0, 0, 1]]), values, mx.ones((1, 4)), gamma=0.9, lam=0.95)
    np.testing.assert_allclose(advantages, np.zeros((1, 4)), atol=1e-6)


def test_eos_rewards_sit_on_the_last_real_token():
    mask = mx.array([[1.0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    found = eos_rewards(mx.array([2.0, -3.0, 0.5, 9.0]), mask)
    assert found.tolist() == [[0, 0, 2, 0], [-3, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0]]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="values_BT"):
        gae(mx.zeros((2, 3)), mx.zeros((2, 4)), mx.zeros((2, 3)), gamma=1.0, lam=1.0)


@pytest.mark.parametrize("scores", [(1,), (3,), (2, 1), ()])
def test_one_reward_an_answer(scores):
    with pytest.raises(ValueError, match="scores_B"):
        eos_rewards(mx.zeros(scores), mx.ones((2, 3)))


def test_the_mask_of_rewards_has_two_axes():
    with pytest.raises(ValueError, match="mask_BT"):
        eos_rewards(mx.zeros(2), mx.ones(2))
