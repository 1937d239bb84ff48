import math

import numpy as np
import pytest

from align_rm.algorithms.calibration import expected_calibration_error, fit_temperature, preference_nll


def test_nll_by_hand():
    # margins ±ln 3 at T = 1: −ln ¾ and −ln ¼; at T = 2, σ(ln 3 / 2) = √3 / (1 + √3)
    margins = np.array([math.log(3), -math.log(3)])
    assert preference_nll(margins, 1.0) == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    right = math.sqrt(3) / (1 + math.sqrt(3))
    assert preference_nll(margins, 2.0) == pytest.approx(-(math.log(right) + math.log(1 - right)) / 2)


@pytest.mark.parametrize(("right", "wrong", "size"), [(3, 1, 2.0), (9, 1, 0.1), (60, 40, 30.0)])
def test_temperature_of_equal_margins(right, wrong, size):
    """All margins ±m, a share p right: the NLL is least where σ(m / T) = p, so T = m / ln(p / (1 − p))."""
    margins = np.array([size] * right + [-size] * wrong)
    assert fit_temperature(margins) == pytest.approx(size / math.log(right / wrong), rel=1e-6)


def test_temperature_is_the_minimum():
    margins = np.random.default_rng(0).normal(0.7, 2.0, 500)
    best = fit_temperature(margins)
    grid = np.exp(np.linspace(math.log(best) - 1, math.log(best) + 1, 2001))
    values = [preference_nll(margins, t) for t in grid]
    assert grid[int(np.argmin(values))] == pytest.approx(best, rel=2e-3)
    assert fit_temperature(5 * margins) == pytest.approx(5 * best, rel=1e-6)


def test_temperature_has_bounds():
    assert fit_temperature(np.array([1.0, 2.0])) == pytest.approx(0.01, rel=0.02)  # all right: T → 0
    assert fit_temperature(np.array([-1.0, -2.0])) == pytest.approx(100.0, rel=0.02)  # all wrong: T → ∞
    assert math.isfinite(fit_temperature(np.zeros(3)))
    with pytest.raises(ValueError, match="at least one pair"):
        fit_temperature(np.array([]))


def test_ece_by_hand():
    # Confidence ¾ four times, three of them right: 0. Confidence ¾ four times, one right: |¼ − ¾| = ½.
    m = math.log(3)
    assert expected_calibration_error(np.array([m, m, m, -m])) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(np.array([m, -m, -m, -m])) == pytest.approx(0.5)
    # Two bins: confidence ¾ (two pairs, both right: gap ¼) and 0.99 (two pairs, one right: gap 0.49)
    far = math.log(99)
    assert expected_calibration_error(np.array([m, m, far, -far])) == pytest.approx((2 * 0.25 + 2 * 0.49) / 4)


def test_ece_of_no_opinion_and_of_full_confidence():
    assert expected_calibration_error(np.zeros(5)) == 0.0  # confidence ½, half right
    assert expected_calibration_error(np.full(5, 1e3)) == 0.0
    assert expected_calibration_error(np.full(5, -1e3)) == 1.0


def test_ece_with_a_temperature_is_ece_of_scaled_margins():
    margins = np.random.default_rng(1).normal(1.0, 3.0, 200)
    assert expected_calibration_error(margins, 2.5) == expected_calibration_error(margins / 2.5)


def test_ece_needs_pairs():
    with pytest.raises(ValueError, match="at least one pair"):
        expected_calibration_error(np.array([]))
