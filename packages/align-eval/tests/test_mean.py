import math

import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.mean import clustered_share, mean_interval


def test_mean_interval_by_hand():
    # mean 2, sd 1, t(0.975; 2) = 4.302653, half = 4.302653/sqrt(3) = 2.484138.
    result = mean_interval([1.0, 2.0, 3.0])
    assert (result.value, result.sd, result.n) == (2.0, 1.0, 3)
    assert result.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)


def test_one_value_has_no_interval():
    result = mean_interval([7.0])
    assert (result.value, result.sd, result.interval) == (7.0, None, None)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [[1.0], [2.0]]])
def test_mean_refuses(values):
    with pytest.raises(ValueError, match="mean_interval"):
        mean_interval(values)


def test_clustered_share_by_hand():
    # p = 3/4, residuals −0.5 and 0.5, variance 2/1·0.5/16 = 1/16; t(0.975; 1) = 12.7 clips both ends.
    share, interval = clustered_share([1, 2], [2, 2])
    assert share == 0.75
    assert interval == (0.0, 1.0)


def test_clustered_share_of_single_pairs_is_the_binomial_one():
    # One decided pair a prompt: Σ(w−p)² = G·p(1−p), so the variance is p(1−p)/(G−1).
    wins = [1] * 30 + [0] * 20
    share, (low, high) = clustered_share(wins, [1] * 50)
    half = stats.t.ppf(0.975, 49) * math.sqrt(0.6 * 0.4 / 49)
    assert share == pytest.approx(0.6)
    assert (low, high) == pytest.approx((0.6 - half, 0.6 + half))


def test_clustered_share_covers_where_runs_share_a_prompt():
    # Six runs whose chance of winning depends on the prompt (0.2 or 0.8): the true share is 0.5.
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        chance_P = rng.choice([0.2, 0.8], size=100)
        wins_P = rng.binomial(6, chance_P)
        _, (low, high) = clustered_share(wins_P, np.full(100, 6))
        covered += low <= 0.5 <= high
    # 400 studies at 95 %: four standard errors are 0.044.
    assert covered / 400 == pytest.approx(0.95, abs=0.044)


def test_prompts_that_are_all_alike_do_not_make_it_certain():
    # Wilson at n of n: low end n/(n + z²), z² = 3.841459; of 2 prompts 2/5.841459 = 0.3424.
    assert clustered_share([3, 3], [3, 3]) == (1.0, pytest.approx((0.342380, 1.0), abs=1e-6))
    assert clustered_share([0, 0], [1, 2]) == (0.0, pytest.approx((0.0, 1 - 0.342380), abs=1e-6))
    assert clustered_share([1], [1]) == (1.0, pytest.approx((1 / 4.841459, 1.0), abs=1e-6))
    assert clustered_share([1, 1], [2, 2]) == (0.5, None)


def test_clustered_share_leaves_undecided_prompts_out_and_refuses_nonsense():
    assert clustered_share([1, 0, 0], [1, 1, 0])[0] == 0.5
    for wins, decided in [([1], [1, 1]), ([2], [1]), ([0], [0])]:
        with pytest.raises(ValueError, match="clustered_share"):
            clustered_share(wins, decided)
