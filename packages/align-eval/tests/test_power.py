import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.power import chance_of_large_d, detectable_d, power


def simulate(d: float, n: int, studies: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((studies, n)) + d, rng.standard_normal((studies, n))
    sp = np.sqrt((a.var(1, ddof=1) + b.var(1, ddof=1)) / 2)
    return (a.mean(1) - b.mean(1)) / sp, stats.ttest_ind(a, b, axis=1).pvalue


def test_three_seeds_as_the_study_says():
    # study.md: no effect gives |d| > 0.8 in 38 % of studies; power at 0.8 is 12 %; 80 % needs d ≈ 3.
    assert chance_of_large_d(3, 3) == pytest.approx(0.38, abs=0.005)
    assert power(0.8, 3, 3) == pytest.approx(0.12, abs=0.005)
    assert detectable_d(3, 3) == pytest.approx(3.0, abs=0.1)


def test_against_simulated_studies():
    null_d, _ = simulate(0.0, 3)
    _, p = simulate(0.8, 5)
    # 20 000 studies: a standard error of 0.0035 at most.
    assert chance_of_large_d(3, 3) == pytest.approx((np.abs(null_d) > 0.8).mean(), abs=0.012)
    assert power(0.8, 5, 5) == pytest.approx((p < 0.05).mean(), abs=0.012)


def test_more_seeds_see_smaller_effects():
    assert detectable_d(10, 10) < detectable_d(5, 5) < detectable_d(3, 3)
    assert power(0.0, 4, 4) == pytest.approx(0.05, abs=1e-9)


def test_one_seed_is_refused():
    with pytest.raises(ValueError, match="two seeds"):
        power(1.0, 1, 3)
