import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.crossed import contrast
from align_eval.algorithms.equivalence import equivalence

FIRST, SECOND = [0.50, 0.52, 0.49, 0.51], [0.51, 0.50, 0.53]


def seeds_only(*groups):
    """A contrast in which only the seeds' means vary."""
    tables = [np.repeat(np.array(group)[:, None], 4, axis=1) for group in groups]
    return contrast(tables, [1.0, -1.0], ["a"] * 4)


@pytest.mark.parametrize("margin", [0.004, 0.02, 0.05])
@pytest.mark.parametrize("groups", [(FIRST, SECOND), (SECOND, FIRST)])
def test_against_two_tests_of_scipy(groups, margin):
    # Two one-sided Welch tests on data moved by the margin; the larger p counts. 0.004 is less than the difference.
    first, second = (np.array(group) for group in groups)
    below = stats.ttest_ind(first + margin, second, equal_var=False, alternative="greater").pvalue
    above = stats.ttest_ind(first - margin, second, equal_var=False, alternative="less").pvalue
    found = equivalence(seeds_only(*groups), margin)
    assert found.p == pytest.approx(max(below, above))
    assert found.equivalent == (max(below, above) < 0.05)
    interval = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    assert found.interval == pytest.approx((interval.low, interval.high))


def test_no_spread():
    found = equivalence(seeds_only([0.5, 0.5], [0.5, 0.5]), 0.1)
    assert (found.p, found.equivalent) == (None, True)
    assert not equivalence(seeds_only([0.8, 0.8], [0.5, 0.5]), 0.1).equivalent


def test_at_the_margin_it_errs_at_its_level():
    # True difference = margin, normal seeds: two one-sided tests claim equivalence in 5 % of studies at most, and in
    # nearly 5 % where the other side is far off. 4 000 studies: a standard error of 0.0034.
    rng = np.random.default_rng(8)
    claimed = 0
    for _ in range(4000):
        first, second = rng.normal(0.1, 0.02, 8), rng.normal(0.0, 0.02, 8)
        claimed += equivalence(seeds_only(first, second), 0.1).equivalent
    assert claimed / 4000 == pytest.approx(0.05, abs=0.014)


def test_refuses_a_margin_of_nothing():
    with pytest.raises(ValueError, match="margin"):
        equivalence(seeds_only(FIRST, SECOND), 0.0)
