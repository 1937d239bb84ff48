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


def assert_scores(found, share, pairs, degrees):
    """The ends are where Wilson's test at Student's t stands still: (share − π)² = t²·π(1 − π)/pairs."""
    square = stats.t.ppf(0.975, degrees) ** 2
    assert found[0] == pytest.approx(share)
    low, high = found[1]
    assert 0.0 <= low < high <= 1.0
    for end in (low, high):
        assert (share - end) ** 2 == pytest.approx(square * end * (1.0 - end) / pairs, abs=1e-12)


def test_clustered_share_by_hand():
    # With a prompt of 2 won and one lost p̃ = 5/8; residuals −1/4, 3/4, 3/4, −5/4, squares 11/4; V = (4/2)·(11/4)/8²;
    # n_eff = (15/64)/(11/128) = 30/11.
    assert_scores(clustered_share([1, 2], [2, 2]), 3 / 4, 30 / 11, degrees=1)


@pytest.mark.parametrize("size", [1, 6])
def test_prompts_that_go_together_count_once(size):
    # One pair a prompt, or six that all agree: as many independent pairs as prompts.
    assert_scores(clustered_share([size] * 30 + [0] * 20, [size] * 50), 0.6, 50, degrees=49)


def test_prompts_without_spread():
    # Outcomes that avoid each other within a prompt count no more than once each.
    assert_scores(clustered_share([3] * 20, [6] * 20), 1 / 2, 120, degrees=19)
    # Large prompts: p̃ = 322/484, squares (20·4² + 81² + 161²)/11² = 32802/121, V = 1.1·(32802/121)/484².
    assert_scores(clustered_share([15] * 20, [22] * 20), 15 / 22, 322 * 162 / (1.1 * 32802 / 121), degrees=19)


def test_one_loss_changes_little():
    # 20 prompts of 6, p̃ = 126/132: squares 21·(36/132)² + (756/132)² = 378/11, n_eff = 126·6/(1.1·378/11) = 20; with
    # one loss p̃ = 125/132, squares 20·(42/132)² + (90/132)² + (750/132)² = 34.772727, n_eff = 125·7/38.25.
    assert_scores(clustered_share([6] * 20, [6] * 20), 1.0, 20, degrees=19)
    assert_scores(clustered_share([6] * 19 + [5], [6] * 20), 119 / 120, 875 / 38.25, degrees=19)


@pytest.mark.parametrize("prompts", [20, 60])
@pytest.mark.parametrize("together", [True, False])
def test_fewer_wins_lower_the_interval(prompts, together):
    """Prompt after prompt each end falls; a single win may raise one a little: it tells how alike a prompt's are."""
    wins = [6] * prompts
    ends = [clustered_share(wins, [6] * prompts)[1]]
    for lost in range(6 * prompts):
        wins[lost // 6 if together else lost % prompts] -= 1
        ends.append(clustered_share(wins, [6] * prompts)[1])
    for end in np.array(ends).T:
        assert (np.diff(end) < 0.01).all()
        assert (np.diff(end[:: 6 if together else prompts]) < 0).all()


def test_clustered_share_covers_where_runs_share_a_prompt():
    # Six runs whose chance of winning depends on the prompt (0.2 or 0.8): the true share is 0.5.
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        chance_P = rng.choice([0.2, 0.8], size=100)
        wins_P = rng.binomial(6, chance_P)
        _, (low, high) = clustered_share(wins_P, np.full(100, 6))
        covered += low <= 0.5 <= high
    # 400 studies at 95 %: four standard errors are 0.044. Tried over 2 000 studies each of 20, 60 and 300 prompts,
    # shares of 0.5 to 0.98 and chances of a prompt from all alike to nearly 0 or 1 (beta, sum of its parameters 0.05 to
    # a million): 0.937 to 0.999, on average 0.976, 0.969 and 0.957; the fewer prompts and losses, the more careful.
    assert covered / 400 == pytest.approx(0.95, abs=0.044)


def test_prompts_that_are_all_alike_do_not_make_it_certain():
    # n_eff is 2, the low end 2/(2 + t²), t(0.975; 1)² = 161.447640.
    low = 2 / 163.447640
    assert clustered_share([3, 3], [3, 3]) == (1.0, (pytest.approx(low), 1.0))
    assert clustered_share([0, 0], [2, 2]) == (0.0, (0.0, pytest.approx(1 - low)))


def test_one_prompt_says_nothing_about_others():
    assert clustered_share([1], [1]) == (1.0, None)
    assert clustered_share([15], [22]) == (15 / 22, None)


def test_clustered_share_leaves_undecided_prompts_out_and_refuses_nonsense():
    assert clustered_share([1, 0, 0], [1, 1, 0])[0] == 0.5
    for wins, decided in [([1], [1, 1]), ([2], [1]), ([0], [0])]:
        with pytest.raises(ValueError, match="clustered_share"):
            clustered_share(wins, decided)
