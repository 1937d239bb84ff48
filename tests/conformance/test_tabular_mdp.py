"""A language small enough to be solved: three tokens, of which the last ends an answer, at most three to an answer.

A policy is a table of logits, one row for each prefix; all 15 answers are listed with their probabilities, so every
expectation is a finite sum, and the gradient of the expected reward is known exactly.
"""

from itertools import product

import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.gae import eos_rewards, gae
from align_rl.algorithms.grpo import group_advantages
from align_rl.algorithms.kl import k1, k3
from align_rl.algorithms.ppo import value_loss
from align_rl.algorithms.surrogate import clipped_surrogate, token_ratio, token_weights
from conformance.reference import finite_differences, kl
from conformance.reference.logprobs import log_softmax

TOKENS, END, HORIZON = 3, 2, 3


def answers():
    """Every answer: it stops at END, or at the horizon."""
    found = []
    for length in range(1, HORIZON + 1):
        for tokens in product(range(TOKENS), repeat=length):
            if END not in tokens[:-1] and (tokens[-1] == END or length == HORIZON):
                found.append(tokens)
    return found


ANSWERS = answers()
PREFIXES = sorted({answer[:t] for answer in ANSWERS for t in range(len(answer))})
STATE = {prefix: i for i, prefix in enumerate(PREFIXES)}
RNG = np.random.default_rng(0)
LOGITS, OTHER = RNG.normal(size=(len(PREFIXES), TOKENS)), RNG.normal(size=(len(PREFIXES), TOKENS))
REWARDS = RNG.normal(size=len(ANSWERS))
STATES_BT = np.array([[STATE.get(a[:t], 0) if t < len(a) else 0 for t in range(HORIZON)] for a in ANSWERS])
ACTIONS_BT = np.array([[a[t] if t < len(a) else 0 for t in range(HORIZON)] for a in ANSWERS])
MASK_BT = np.array([[float(t < len(a)) for t in range(HORIZON)] for a in ANSWERS])


def probabilities(logits):
    """P(answer) of each."""
    logp = log_softmax(logits)
    return np.array([np.exp(sum(logp[STATE[a[:t]], token] for t, token in enumerate(a))) for a in ANSWERS])


def reward_of(logits):
    """J = Σ P(answer) r."""
    return float(probabilities(logits) @ REWARDS)


def solve(gamma):
    """Exact V and Q of each prefix, from the longest to the empty one."""
    values, quality, p = np.zeros(len(PREFIXES)), np.zeros(LOGITS.shape), np.exp(log_softmax(LOGITS))
    for prefix in sorted(PREFIXES, key=len, reverse=True):
        for token in range(TOKENS):
            longer = (*prefix, token)
            ahead = gamma * values[STATE[longer]] if longer in STATE else REWARDS[ANSWERS.index(longer)]
            quality[STATE[prefix], token] = ahead
        values[STATE[prefix]] = p[STATE[prefix]] @ quality[STATE[prefix]]
    return values, quality


POLICY_GRADIENT = finite_differences.gradient(lambda at: reward_of(at["logits"]), {"logits": LOGITS})["logits"]
PROBABILITIES = probabilities(LOGITS)


def estimate(values, gamma, lam):
    """Advantages and returns of every answer from the implementation, with V read off a table."""
    mask_BT, values_BT = mx.array(MASK_BT, mx.float32), mx.array(values[STATES_BT], mx.float32)
    rewards_BT = eos_rewards(mx.array(REWARDS, mx.float32), mask_BT)
    return gae(rewards_BT, values_BT, mask_BT, gamma=gamma, lam=lam)


def expected_by_place(numbers_BT):
    """E[number | prefix, token]: over the answers through that place."""
    weight, total = np.zeros(LOGITS.shape), np.zeros(LOGITS.shape)
    place = STATES_BT, ACTIONS_BT
    np.add.at(weight, place, PROBABILITIES[:, None] * MASK_BT)
    np.add.at(total, place, PROBABILITIES[:, None] * MASK_BT * np.array(numbers_BT, np.float64))
    return total / weight


def logprobs_BT(logits, states_BT=STATES_BT, actions_BT=ACTIONS_BT):
    """log π of every token, differentiable in the table."""
    table = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    return table[mx.array(states_BT), mx.array(actions_BT)]


def test_the_language():
    assert (len(ANSWERS), len(PREFIXES)) == (15, 7)  # 1 + 2 + 4·3 answers; 1 + 2 + 4 prefixes
    assert PROBABILITIES.sum() == pytest.approx(1.0)
    # The policy gradient theorem, with visits d(s): ∇J = d(s) π(a|s) (Q − V).
    values, quality = solve(1.0)
    visits = np.zeros(len(PREFIXES))
    np.add.at(visits, STATES_BT, PROBABILITIES[:, None] * MASK_BT)
    exact = visits[:, None] * np.exp(log_softmax(LOGITS)) * (quality - values[:, None])
    np.testing.assert_allclose(POLICY_GRADIENT, exact, atol=1e-9)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (1.0, 0.0), (1.0, 0.6), (0.7, 1.0), (0.7, 0.0), (0.7, 0.6)])
def test_gae_is_unbiased_with_exact_values(gamma, lam):
    """Proofs, PPO: E[Â | s, a] = Q(s, a) − V(s) exactly, whatever λ, where V is exact; returns are Q."""
    values, quality = solve(gamma)
    advantages_BT, returns_BT = estimate(values, gamma, lam)
    np.testing.assert_allclose(expected_by_place(advantages_BT), quality - values[:, None], atol=2e-6)
    np.testing.assert_allclose(expected_by_place(returns_BT), quality, atol=2e-6)


@pytest.mark.parametrize(("values", "lam"), [("exact", 1.0), ("exact", 0.0), ("wrong", 1.0)])
def test_surrogate_has_the_policy_gradient(values, lam):
    """Proofs, PPO: at ratio 1 the surrogate's gradient is −∇J, with λ = 1 for any baseline; flipped rewards flip it."""
    table = solve(1.0)[0] if values == "exact" else RNG.normal(size=len(PREFIXES))
    advantages_BT, _ = estimate(table, 1.0, lam)
    mask_BT, weights = mx.array(MASK_BT, mx.float32), mx.array(PROBABILITIES, mx.float32)[:, None]
    old_BT = logprobs_BT(mx.array(LOGITS, mx.float32))

    def loss(logits, sign=1.0):
        ratio_BT = token_ratio(logprobs_BT(logits), old_BT, mask_BT)
        return (
            clipped_surrogate(ratio_BT, sign * advantages_BT, clip_low=0.2, clip_high=0.2) * mask_BT * weights
        ).sum()

    logits = mx.array(LOGITS, mx.float32)
    np.testing.assert_allclose(mx.grad(loss)(logits), -POLICY_GRADIENT, atol=2e-6)
    np.testing.assert_allclose(mx.grad(lambda x: loss(x, -1.0))(logits), POLICY_GRADIENT, atol=2e-6)


def test_one_step_estimates_with_wrong_values_are_biased():
    """PPO: λ acts: with λ = 0 and a wrong V the expectation is another one."""
    values, quality = solve(1.0)
    wrong = values + RNG.normal(size=len(PREFIXES))
    for lam, off in ((1.0, False), (0.0, True)):
        found = expected_by_place(estimate(wrong, 1.0, lam)[0]) + wrong[:, None]
        assert (np.abs(found - quality).max() > 0.1) == off


@pytest.mark.parametrize("answers_a_prompt", [2, 3])
def test_group_mean_is_unbiased_up_to_its_factor(answers_a_prompt):
    """GRPO: over all K-tuples of answers the expected gradient is (K − 1)/K ∇J: an answer is in its own baseline."""
    k = answers_a_prompt
    groups = np.array(list(product(range(len(ANSWERS)), repeat=k)))
    rows, chance = groups.reshape(-1), PROBABILITIES[groups].prod(axis=1)
    mask_BT = mx.array(MASK_BT[rows], mx.float32)
    advantages_B = group_advantages(mx.array(REWARDS[groups], mx.float32)).reshape(-1)
    weights_BT = token_weights(mask_BT, "dr_grpo", 1) * len(rows)  # 1 a token, no length in it
    weights_BT = weights_BT * mx.array(np.repeat(chance / k, k), mx.float32)[:, None]

    def loss(logits):
        logp_BT = logprobs_BT(logits, STATES_BT[rows], ACTIONS_BT[rows])
        ratio_BT = token_ratio(logp_BT, mx.stop_gradient(logp_BT), mask_BT)
        advantages_BT = advantages_B[:, None] * mask_BT
        return (clipped_surrogate(ratio_BT, advantages_BT, clip_low=0.2, clip_high=0.2) * weights_BT).sum()

    found = mx.grad(loss)(mx.array(LOGITS, mx.float32))
    np.testing.assert_allclose(found, -(k - 1) / k * POLICY_GRADIENT, atol=2e-6)


@pytest.mark.parametrize("lam", [1.0, 0.0])
def test_the_value_loss_is_least_at_the_exact_values(lam):
    """PPO: E[∇ (V − R)²] = 0 where V is exact, for returns of any λ: the critic learns what GAE needs."""
    values, _ = solve(0.9)
    _, returns_BT = estimate(values, 0.9, lam)
    weights_BT = mx.array(PROBABILITIES[:, None] * MASK_BT, mx.float32)

    def loss(table):
        values_BT = table[mx.array(STATES_BT)]
        return (value_loss(values_BT, returns_BT, values_BT, value_clip=None) * weights_BT).sum()

    np.testing.assert_allclose(mx.grad(loss)(mx.array(values, mx.float32)), np.zeros(len(PREFIXES)), atol=1e-6)
    assert mx.abs(mx.grad(loss)(mx.array(values + 0.5, mx.float32))).max().item() > 0.05


def test_kl_estimators_are_unbiased():
    """KL: E[k1] = E[k3] = Σ d(s) KL(π(·|s) ‖ ρ(·|s)), by enumeration."""
    logp, logq = log_softmax(LOGITS), log_softmax(OTHER)
    exact = (PROBABILITIES[:, None] * MASK_BT * kl.exact(logp, logq)[STATES_BT]).sum()
    tables = [mx.array(table[STATES_BT, ACTIONS_BT], mx.float32) for table in (logp, logq)]
    for estimator in (k1, k3):
        found = (np.array(estimator(*tables), np.float64) * PROBABILITIES[:, None] * MASK_BT).sum()
        assert found == pytest.approx(exact, rel=1e-5)
