import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.wilson import wilson


def test_no_success_has_the_closed_form():
    # p = 0: centre = half = (z²/2n)/(1+z²/n), so high = z²/(n+z²) = 3.841459/13.841459.
    assert wilson(0, 10) == pytest.approx((0.0, 3.8414588 / 13.8414588), abs=1e-7)


def test_mirror_image():
    low, high = wilson(3, 11)
    assert wilson(8, 11) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("k", "n", "confidence"), [(1, 1, 0.95), (181, 300, 0.95), (60, 100, 0.99), (299, 300, 0.9)])
def test_against_scipy(k, n, confidence):
    oracle = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@pytest.mark.parametrize(("k", "n", "confidence"), [(1, 0, 0.95), (-1, 3, 0.95), (4, 3, 0.95), (1, 2, 1.0)])
def test_refuses_what_is_no_rate(k, n, confidence):
    with pytest.raises(ValueError, match="wilson"):
        wilson(k, n, confidence)


@pytest.mark.parametrize("n", [20, 100, 300])
def test_coverage_over_all_outcomes(n):
    """Exact, not simulated: the binomial chance of every count whose interval holds the true rate."""
    rates = np.linspace(0.05, 0.95, 181)
    ends = np.array([wilson(k, n) for k in range(n + 1)])
    holds = (ends[:, :1] <= rates) & (rates <= ends[:, 1:])
    coverage = (holds * stats.binom.pmf(np.arange(n + 1)[:, None], n, rates)).sum(axis=0)
    # Brown, Cai & DasGupta (2001): close to 0.95 on average, never far below away from the edges.
    assert coverage.mean() == pytest.approx(0.95, abs=0.006)
    assert coverage.min() > 0.92
