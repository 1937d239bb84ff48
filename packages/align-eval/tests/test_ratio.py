import math

import numpy as np
import pytest

from align_eval.algorithms.ratio import ratio_of_sums


def test_by_hand():
    """y = 1, 4, 4 over x = 1, 2, 3: R = 9/6; residuals −½, 1, −½, so √(3/2·3/2)/6 = ¼."""
    assert ratio_of_sums([1, 4, 4], [1, 2, 3]) == (pytest.approx(1.5), pytest.approx(0.25))


def test_equal_denominators_give_the_mean_and_its_standard_error():
    y = [0.3, 0.1, 0.7, 0.2]
    value, error = ratio_of_sums(y, [2.0] * 4)
    assert value == pytest.approx(np.mean(y) / 2)
    assert error == pytest.approx(np.std(y, ddof=1) / math.sqrt(4) / 2)


def test_one_cluster_has_no_error():
    assert ratio_of_sums([3.0], [2.0]) == (1.5, None)


@pytest.mark.parametrize(
    ("y", "x"),
    [([1.0], [1.0, 2.0]), ([math.nan], [1.0]), ([1.0], [0.0]), ([1.0, 1.0], [2.0, -1.0]), ([[1.0]], [[1.0]])],
)
def test_what_cannot_be_divided_is_refused(y, x):
    with pytest.raises(ValueError, match="ratio_of_sums: expected"):
        ratio_of_sums(y, x)
