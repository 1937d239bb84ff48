import math

import numpy as np
import pytest

from align_eval.algorithms.bootstrap import draw, means, percentiles

STRATA = ["a"] * 4 + ["b"] * 2


def test_draws_keep_the_size_of_everything():
    draws = draw([3, 3], STRATA, paired=True, replicates=50, key=(1,))
    assert draws.prompts_PB.shape == (6, 50)
    assert (draws.prompts_PB[:4].sum(0) == 4).all()  # each category as large as it is
    assert (draws.prompts_PB[4:].sum(0) == 2).all()
    assert all((counts.sum(0) == 3).all() for counts in draws.seeds)


def test_paired_seeds_are_drawn_together_and_others_are_not():
    paired = draw([3, 3], STRATA, paired=True, replicates=50, key=(1,))
    assert np.array_equal(*paired.seeds)
    free = draw([3, 3], STRATA, paired=False, replicates=50, key=(1,))
    assert not np.array_equal(*free.seeds)
    assert [one.shape for one in draw([2, 5], STRATA, paired=False, replicates=9, key=(1,)).seeds] == [(2, 9), (5, 9)]


def test_equal_keys_give_equal_draws():
    one, again, other = (draw([2], STRATA, paired=False, replicates=20, key=key) for key in ((1, 2), (1, 2), (1, 3)))
    assert np.array_equal(one.prompts_PB, again.prompts_PB)
    assert not np.array_equal(one.prompts_PB, other.prompts_PB)


def test_means_are_those_of_the_drawn_copies():
    # The counts written out as copies of rows and columns.
    table = np.random.default_rng(2).random((3, 6))
    draws = draw([3], STRATA, paired=False, replicates=10, key=(4,))
    found = means([table], draws)[0]
    for b in range(10):
        rows = np.repeat(np.arange(3), draws.seeds[0][:, b].astype(int))
        columns = np.repeat(np.arange(6), draws.prompts_PB[:, b].astype(int))
        assert found[b] == pytest.approx(table[np.ix_(rows, columns)].mean())


def test_variance_of_drawing_seeds_and_prompts():
    # Seeds add x and prompts add y to the score. Drawing n values anew gives their mean the variance Σ(v − mean)²/n².
    x, y = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0, 2.0, 4.0, 1.0, 3.0])
    draws = draw([3], ["a"] * 6, paired=False, replicates=40_000, key=(5,))
    found = means([x[:, None] + y], draws)[0]
    expected = 14 / 9 + 10 / 36  # Σ(x − 2)² = 4 + 1 + 9; Σ(y − 2)² = 4 + 0 + 0 + 4 + 1 + 1
    # 40 000 replicates: a variance is known to √(2/40 000) = 0.7 %; four times that.
    assert found.var() == pytest.approx(expected, rel=0.03)
    assert found.mean() == pytest.approx(4.0, abs=4 * math.sqrt(expected / 40_000))


def test_differences_between_categories_are_not_drawn():
    table = np.array([[0.0] * 4 + [1.0] * 2] * 3)
    found = means([table], draw([3], STRATA, paired=False, replicates=100, key=(6,)))[0]
    assert np.allclose(found, 1 / 3)


def test_percentiles():
    low, high = percentiles(np.arange(1001.0), 0.9)
    assert (float(low), float(high)) == pytest.approx((50.0, 950.0))


@pytest.mark.parametrize(
    "changes", [{"replicates": 0}, {"seeds": []}, {"seeds": [0]}, {"seeds": [2, 3]}, {"strata_P": []}]
)
def test_refusals(changes):
    with pytest.raises(ValueError, match="bootstrap: expected"):
        draw(**{"seeds": [2, 2], "strata_P": STRATA, "paired": True, "replicates": 5, "key": (1,), **changes})
