import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.ppo import explained_variance, sampled_entropy, value_loss


def loss(value, target, old, clip=None):
    return value_loss(*(mx.array([[x]]) for x in (value, target, old)), value_clip=clip).item()


def test_value_loss_is_the_squared_error():
    assert loss(2.0, 3.5, 0.0) == pytest.approx(2.25)


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        # Old value 1, clip 0.2: V = 2 counts as 1.2.
        (2.0, 0.0, 4.0),  # max(4, 1.44)
        (2.0, 3.0, 3.24),  # max(1, 3.24)
        (1.1, 3.0, 3.61),  # inside the clip: both the same
    ],
)
def test_clipped_value_loss_is_the_worse_one(value, target, expected):
    assert loss(value, target, 1.0, 0.2) == pytest.approx(expected)


def test_sampled_entropy_is_the_seeds_formula():
    # −p log p at p = 1/2: 0.5·ln 2; at p = 1: 0.
    found = sampled_entropy(mx.array([[np.log(0.5), 0.0]]))
    np.testing.assert_allclose(found, [[0.5 * np.log(2), 0.0]], atol=1e-6)


def test_explained_variance():
    returns, mask = mx.array([[1.0, 2.0, 3.0, 99.0]]), mx.array([[1.0, 1, 1, 0]])

    def of(values):
        return explained_variance(mx.array([values]), returns, mask).item()

    assert of([1.0, 2.0, 3.0, -5.0]) == pytest.approx(1.0)
    assert of([0.0, 1.0, 2.0, 7.0]) == pytest.approx(1.0)  # off by a constant
    assert of([2.0, 2.0, 2.0, 0.0]) == pytest.approx(0.0)
    assert of([3.0, 2.0, 1.0, 0.0]) == pytest.approx(-3.0)  # residuals −2, 0, 2: four times the variance
