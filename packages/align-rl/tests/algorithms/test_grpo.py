import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.grpo import group_advantages, silent_groups


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
