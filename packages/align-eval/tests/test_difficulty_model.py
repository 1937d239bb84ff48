import numpy as np
import pytest

from align_eval.algorithms.difficulty_model import DifficultyModel


def model(rng, pairs, models, groups, difficulty_sd=0.0):
    """Random graded pairs; some instructions stand in several pairs of one model."""
    draw = lambda most: np.concatenate([np.arange(most), rng.integers(0, most, pairs - most)])  # noqa: E731
    return DifficultyModel(
        np.where(rng.random(pairs) < 0.5, rng.random(pairs), rng.integers(0, 2, pairs)),
        rng.uniform(-1, 1, pairs),
        rng.permutation(draw(models)),
        rng.permutation(draw(groups)),
        strength_sd=2.0,
        slope_mean=0.5,
        slope_covariance_MM=0.3 + 0.2 * np.eye(models),
        difficulty_sd=difficulty_sd,
    )


CASES = [(40, 3, 15, 0.0), (30, 1, 30, 1.3), (20, 2, 20, 0.0), (25, 1, 8, 0.0)]
"""Estimated difficulty; a fixed one; none; one model whose instructions repeat."""


@pytest.mark.parametrize("case", CASES)
def test_derivatives_are_those_of_finite_differences(case):
    rng = np.random.default_rng(0)
    found = model(rng, *case)
    point = rng.normal(0.3, 0.5, found.size)
    if found.estimates_sd:
        point[-1] = 0.9
    steps = 1e-5 * np.eye(found.size)

    def differences(function):
        return np.array([(function(point + step) - function(point - step)) / 2e-5 for step in steps])

    value, gradient = found.loss(point)
    assert np.isfinite(value)
    np.testing.assert_allclose(gradient, differences(lambda p: found.loss(p)[0]), atol=1e-6)
    scores, hessian, slopes = found.derivatives(point)
    np.testing.assert_allclose(hessian, differences(lambda p: found.loss(p)[1]), atol=1e-6)
    np.testing.assert_allclose(slopes.T, differences(found.rates), atol=1e-7)
    mean = np.zeros(found.size)
    mean[case[1] : 2 * case[1]] = 0.5
    np.testing.assert_allclose(found.precision @ (point - mean) - scores.sum(axis=0), gradient, atol=1e-10)


def test_the_difficulty_is_estimated_only_where_pairs_can_tell_it():
    rng = np.random.default_rng(1)
    assert [model(rng, *case).estimates_sd for case in CASES] == [True, False, False, True]
    assert model(rng, *CASES[1]).sd(np.zeros(2)) == 1.3


def test_the_fit_is_a_minimum():
    rng = np.random.default_rng(2)
    found = model(rng, 200, 3, 50)
    best = found.fit()
    assert best[-1] >= 0
    assert np.abs(found.loss(best)[1][: found.size - (best[-1] == 0)]).max() < 1e-4
    assert np.linalg.eigvalsh(found.derivatives(best)[1][:-1, :-1]).min() > 0
