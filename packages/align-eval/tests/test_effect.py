import math

import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.effect import effect, hedges_correction, pooled_sd

A, B = [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]
C = [0.71, 0.69, 0.74, 0.70]


def test_by_hand():
    # Means 2 and 3, both sd 1: pooled sd 1, d = −1. J(4) = Γ(2)/(√2·Γ(1.5)) = 1/(√2·√π/2) = √(2/π).
    result = effect(A, B)
    assert result.difference == -1.0
    assert result.cohens_d == pytest.approx(-1.0)
    assert result.hedges_g == pytest.approx(-math.sqrt(2 / math.pi))
    # Welch: −1/√(1/3+1/3) = −1.224745; equal variances and sizes give df = 4.
    assert result.welch_t == pytest.approx(-math.sqrt(1.5))
    assert result.welch_df == pytest.approx(4.0)
    assert result.reason is None


def test_welch_against_scipy_with_unequal_groups():
    oracle = stats.ttest_ind(C, A, equal_var=False)
    interval = oracle.confidence_interval(0.95)
    result = effect(C, A)
    assert (result.welch_t, result.welch_df, result.welch_p) == pytest.approx(
        (oracle.statistic, oracle.df, oracle.pvalue)
    )
    assert result.welch_interval == pytest.approx((interval.low, interval.high))


def test_interval_of_d_inverts_the_noncentral_t():
    # An end of the interval is the d under which the observed t = d·√(9/6) lies at a tail of 2.5 %.
    result = effect(A, B)
    low, high = result.cohens_d_interval
    root, t = math.sqrt(1.5), -math.sqrt(1.5)
    assert stats.nct.cdf(t, 4, low * root) == pytest.approx(0.975, abs=1e-7)
    assert stats.nct.cdf(t, 4, high * root) == pytest.approx(0.025, abs=1e-7)
    assert low < result.cohens_d < high
    j = hedges_correction(4)
    assert result.hedges_g_interval == pytest.approx((j * low, j * high))


def test_student_against_scipy_with_unequal_groups():
    oracle = stats.ttest_ind(C, A)
    interval = oracle.confidence_interval(0.95)
    result = effect(C, A)
    assert (result.student_t, result.student_df, result.student_p) == pytest.approx(
        (oracle.statistic, oracle.df, oracle.pvalue)
    )
    assert result.student_interval == pytest.approx((interval.low, interval.high))


def test_welch_is_the_same_whatever_the_unit():
    one, other = effect(A, C), effect([x * 1e-100 for x in A], [x * 1e-100 for x in C])
    assert (other.welch_t, other.welch_df) == pytest.approx((one.welch_t, one.welch_df))


def test_intervals_cover_a_true_d_of_one():
    # 200 studies of three and three: four standard errors of 0.95 are 0.062. Welch's covers 0.965 here.
    rng = np.random.default_rng(9)
    found = [effect(rng.normal(1, 1, 3), rng.normal(0, 1, 3)) for _ in range(200)]
    for name in ("cohens_d_interval", "student_interval"):
        ends = np.array([getattr(one, name) for one in found])
        assert ((ends[:, 0] <= 1) & (ends[:, 1] >= 1)).mean() == pytest.approx(0.95, abs=0.062)
    # g has no bias: its sd is 1.1 at four degrees of freedom (d's √2, times J = 0.8), so the mean is known to 0.08.
    assert np.mean([one.hedges_g for one in found]) == pytest.approx(1.0, abs=4 * 0.08)


def test_exchanging_the_groups_mirrors_everything():
    one, other = effect(A, C), effect(C, A)
    assert other.cohens_d == pytest.approx(-one.cohens_d)
    assert other.cohens_d_interval == pytest.approx((-one.cohens_d_interval[1], -one.cohens_d_interval[0]), abs=1e-6)
    assert other.welch_p == pytest.approx(one.welch_p)


def test_no_spread_is_said_and_not_divided_by():
    result = effect([0.1 + 0.2, 0.3, 0.3], [0.5, 0.5, 0.5])  # 0.1 + 0.2 is 0.3 up to rounding
    assert result.difference == pytest.approx(-0.2)
    assert result.cohens_d is result.welch_p is result.cohens_d_interval is None
    assert "no spread" in result.reason


def test_spread_in_one_group_is_enough():
    # sp = √(2·1/4) = 0.7071; d = (2 − 5)/0.7071.
    result = effect(A, [5.0, 5.0, 5.0])
    assert result.cohens_d == pytest.approx(-3 / math.sqrt(0.5))
    assert result.welch_df == pytest.approx(2.0)


def test_nearly_no_spread_still_gives_finite_numbers():
    result = effect([0.62, 0.6200001, 0.62], [0.5, 0.5, 0.5])
    assert all(math.isfinite(x) for x in (result.cohens_d, *result.cohens_d_interval))


def test_one_seed_is_not_a_group():
    result = effect([0.6], [0.5, 0.7])
    assert result.difference == pytest.approx(0.0)
    assert result.cohens_d is None
    assert "two seeds" in result.reason
    assert effect([], [1.0]).difference is None


def test_pooled_sd_weighs_by_degrees_of_freedom():
    # Sums of squares 2 and 8 over 2 + 1 degrees of freedom.
    assert pooled_sd([1.0, 2.0, 3.0], [0.0, 4.0]) == pytest.approx(math.sqrt(10 / 3))


def test_refusals():
    with pytest.raises(ValueError, match="finite"):
        effect([math.inf, 1.0], A)
    with pytest.raises(ValueError, match="pooled_sd"):
        pooled_sd([1.0], [2.0])
    with pytest.raises(ValueError, match="df"):
        hedges_correction(1)
