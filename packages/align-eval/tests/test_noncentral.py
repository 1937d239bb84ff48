import math

import numpy as np
import pytest
from scipy import special, stats

from align_eval.algorithms.noncentral import noncentral_t_cdf, noncentral_t_interval


@pytest.mark.parametrize(("t", "df", "delta"), [(1.0, 4, 0.5), (3.0, 4, 2.0), (-2.0, 8, 1.5), (5.0, 1, 3.0)])
def test_against_scipy_where_scipy_is_sound(t, df, delta):
    assert noncentral_t_cdf(t, df, delta) == pytest.approx(stats.nct.cdf(t, df, delta), abs=1e-9)


def test_at_zero_it_is_the_normal_tail():
    # T <= 0 exactly when Z <= −delta.
    assert noncentral_t_cdf(0.0, 4, 1.3) == pytest.approx(special.ndtr(-1.3), abs=1e-10)


def test_without_noncentrality_it_is_student():
    assert noncentral_t_cdf(2.1, 5, 0.0) == pytest.approx(stats.t.cdf(2.1, 5), abs=1e-10)


def test_large_delta_against_a_simulation():
    # Where scipy returns NaN: T = (Z + 60)/S, 200 000 draws, standard error about 0.001.
    rng = np.random.default_rng(3)
    draws = (rng.standard_normal(200_000) + 60.0) / np.sqrt(rng.chisquare(4, 200_000) / 4)
    assert noncentral_t_cdf(70.0, 4, 60.0) == pytest.approx((draws <= 70.0).mean(), abs=0.005)


def test_interval_covers_the_true_delta():
    # The interval holds delta exactly when both tails at the observed t exceed 2.5 %: coverage is 95 %.
    rng = np.random.default_rng(11)
    t_N = (rng.standard_normal(300) + 1.5) / np.sqrt(rng.chisquare(4, 300) / 4)
    covered = np.mean([low <= 1.5 <= high for low, high in (noncentral_t_interval(t, 4) for t in t_N)])
    assert covered == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(("t", "df"), [(math.nan, 4), (1.0, 0)])
def test_refusals(t, df):
    with pytest.raises(ValueError, match="noncentral"):
        noncentral_t_interval(t, df)
    with pytest.raises(ValueError, match="noncentral"):
        noncentral_t_cdf(t, df, 0.0)
