import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.bootstrap import draw
from align_eval.algorithms.improvement import improvement_replicates, paired_difference, superiority

# Win 1, tie ½, loss 0: two runs of the first method and three of the second on two prompts.
FIRST = np.array([[1.0, 0.5], [0.0, 0.5]])
SECOND = np.array([[0.0, 0.5], [0.5, 0.5], [1.0, 0.0]])


def test_probability_of_improvement_by_hand():
    # Prompt 1: 1 against 0, ½, 1 gives 1 + 1 + ½, 0 against them ½ + 0 + 0: 3 of 6. Prompt 2: ½ ½ 1 twice: 4 of 6.
    assert superiority(FIRST, SECOND).mean(axis=(0, 1)) == pytest.approx([3 / 6, 4 / 6])


def test_it_is_mann_and_whitneys_u_on_each_prompt():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 3, (5, 8)) / 2, rng.integers(0, 3, (4, 8)) / 2
    expected = [stats.mannwhitneyu(first[:, p], second[:, p]).statistic / 20 for p in range(8)]
    assert superiority(first, second).mean(axis=(0, 1)) == pytest.approx(expected)


def test_replicates_are_those_of_the_drawn_copies():
    draws = draw([2, 3], ["a", "a"], paired=False, replicates=10, key=(3,))
    found = improvement_replicates(superiority(FIRST, SECOND), draws)
    for b in range(10):
        one = np.repeat(FIRST, draws.seeds[0][:, b].astype(int), axis=0)
        two = np.repeat(SECOND, draws.seeds[1][:, b].astype(int), axis=0)
        columns = np.repeat([0, 1], draws.prompts_PB[:, b].astype(int))
        assert found[b] == pytest.approx(superiority(one[:, columns], two[:, columns]).mean())


def test_on_average_it_is_the_true_probability():
    # Win, tie, loss at 0.5, 0.2, 0.3 against 0.4, 0.2, 0.4: 0.5·0.6 + 0.2·0.4 + ½(0.5·0.4 + 0.2·0.2 + 0.3·0.4) = 0.56.
    rng = np.random.default_rng(7)
    first, second = (rng.choice([1.0, 0.5, 0.0], p=p, size=(2000, 3, 20)) for p in ([0.5, 0.2, 0.3], [0.4, 0.2, 0.4]))
    found = [superiority(one, two).mean() for one, two in zip(first, second, strict=True)]
    # 2 000 × 20 prompts × 3 independent pairs or more: a standard error below √(0.25/120 000) = 0.0014.
    assert np.mean(found) == pytest.approx(0.56, abs=0.006)


def test_paired_difference_by_hand():
    # Means by prompt: 0.5 and 0.5 against 0.5 and 1/3, so 0 and 1/6.
    found = paired_difference(FIRST, SECOND)
    assert (found.better, found.equal, found.worse) == (1, 1, 0)
    assert found.mean.value == pytest.approx(1 / 12)
    mirrored = paired_difference(SECOND, FIRST)
    assert (mirrored.better, mirrored.equal, mirrored.worse) == (0, 1, 1)


def test_level_methods_are_level_to_the_last_bit():
    # A third each way: 1/3 and −1/3 add up to nothing, though in another order of summation they may leave 1e-17.
    first = np.array([[1.0, 0.0, 0.0] * 5] * 3)
    second = np.array([[1.0, 1.0, 0.0] * 5, [1.0, 0.0, 0.0] * 5, [0.0, 0.0, 0.0] * 5])
    found = paired_difference(first, second)
    assert found.mean.value == 0.0
    assert (found.better, found.equal, found.worse) == (5, 5, 5)


def test_paired_difference_has_the_interval_of_a_paired_t_test():
    rng = np.random.default_rng(2)
    first, second = rng.random((3, 40)), rng.random((2, 40))
    expected = stats.ttest_rel(first.mean(0), second.mean(0)).confidence_interval(0.95)
    assert paired_difference(first, second).mean.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("second", [SECOND[:, :1], SECOND[0], np.zeros((0, 2))])
def test_refusals(second):
    with pytest.raises(ValueError, match="improvement"):
        superiority(FIRST, second)
