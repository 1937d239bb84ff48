import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.grpo import answer_advantages, by_prompt, group_advantages, silent_groups


def test_the_seeds_example():
    # (4.2 + 3.8 + 2.1 + 1.3 + 4.5 + 2.8) / 6 = 18.7 / 6 = 3.1167.
    rewards = [[4.2, 3.8, 2.1, 1.3, 4.5, 2.8]]
    found = group_advantages(mx.array(rewards))
    np.testing.assert_allclose(found, [[1.08, 0.68, -1.02, -1.82, 1.38, -0.32]], atol=0.005)
    np.testing.assert_allclose(found, [[r - 18.7 / 6 for r in rewards[0]]], atol=1e-6)


def test_each_group_has_its_own_mean():
    found = group_advantages(mx.array([[1.0, 3.0], [10.0, 30.0]]))
    assert found.tolist() == [[-1, 1], [-10, 10]]


def test_scales():
    # Group stds √2 and 10 √2; all rewards have mean 11 and squares 100 + 64 + 1 + 361 = 526 around it, over n − 1 = 3.
    rewards = mx.array([[1.0, 3.0], [10.0, 30.0]])
    halves = np.array([[-1, 1], [-1, 1]]) / np.sqrt(2)
    np.testing.assert_allclose(group_advantages(rewards, "group", epsilon=0.0), halves, atol=1e-6)
    expected = np.array([[-1, 1], [-10, 10]]) / np.sqrt(526 / 3)
    np.testing.assert_allclose(group_advantages(rewards, "batch", epsilon=0.0), expected, atol=1e-6)


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
@pytest.mark.parametrize(("value", "answers"), [(4.7, 6), (0.1, 3), (5.0, 6), (-1.3, 7), (1e4 / 3, 11)])
def test_equal_rewards_give_exactly_nothing(value, answers, scale):
    # The mean of equal numbers is not always that number in fp32, and Adam would turn the difference into full steps.
    assert not mx.any(group_advantages(mx.full((2, answers), value), scale)).item()


def test_silent_groups_are_counted():
    assert silent_groups(mx.array([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [5.0, 5.0, 5.0]])).item() == 2


def test_wrong_arguments():
    with pytest.raises(ValueError, match="rank 2"):
        group_advantages(mx.zeros(6))
    with pytest.raises(ValueError, match="none, group or batch"):
        group_advantages(mx.zeros((1, 6)), "std")
    with pytest.raises(ValueError, match="two or more answers"):
        group_advantages(mx.zeros((4, 1)))


def test_silent_groups_need_groups():
    with pytest.raises(ValueError, match="rewards_PK"):
        silent_groups(mx.zeros((2, 3, 4)))


UNEVEN = mx.array([1.0, 3.0, 10.0, 20.0, 30.0, 5.0, 9.0])
PROMPTS = np.array([0, 0, 2, 2, 2, 3, 3])  # prompt 1 has left


def test_groups_of_different_sizes_keep_their_own_mean():
    # Means 2, 20 and 7.
    assert answer_advantages(UNEVEN, PROMPTS).tolist() == [-1, 1, -10, 0, 10, -2, 2]


def test_groups_of_different_sizes_have_their_own_scale():
    # With n − 1: √2 of (1, 3), 10 of (10, 20, 30), √8 of (5, 9).
    found = answer_advantages(UNEVEN, PROMPTS, "group", epsilon=0.0)
    np.testing.assert_allclose(found, [-(0.5**0.5), 0.5**0.5, -1, 0, 1, -(0.5**0.5), 0.5**0.5], atol=1e-6)
    # All seven: sum 78, squares 1 + 9 + 100 + 400 + 900 + 25 + 81 = 1516, variance (1516 − 78² / 7) / 6.
    expected = np.array([-1, 1, -10, 0, 10, -2, 2]) / np.sqrt((1516 - 78**2 / 7) / 6)
    np.testing.assert_allclose(answer_advantages(UNEVEN, PROMPTS, "batch", epsilon=0.0), expected, atol=1e-6)


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_whole_groups_are_a_rectangle(scale):
    rewards = mx.random.normal((4, 3), key=mx.random.key(1))
    found = answer_advantages(rewards.reshape(-1), np.repeat(np.arange(4), 3), scale)
    np.testing.assert_allclose(found.reshape(4, 3), group_advantages(rewards, scale), atol=1e-6)


def test_answers_stand_in_the_order_of_their_prompts():
    with pytest.raises(ValueError, match="ascending"):
        by_prompt(mx.zeros(3), np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="expected prompts"):
        by_prompt(mx.zeros(3), np.array([0, 1]))
