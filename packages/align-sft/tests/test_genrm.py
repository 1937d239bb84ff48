import math

import numpy as np
import pytest

from align_sft.algorithms.genrm import mean_absolute_error, parse_score, ranks, spearman


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 7.5/10. The response is helpful.", 7.5),
        ("I say: Score:8/10", 8.0),
        ("Score: 3/10 or Score: 9/10", 3.0),
        ("Score: ten/10", None),
        ("Score: 7 of 10", None),
        ("", None),
    ],
)
def test_parse(text, score):
    assert parse_score(text) == score


def test_mean_absolute_error():
    assert mean_absolute_error([1.0, 4.0], [2.0, 2.0]) == 1.5
    with pytest.raises(ValueError, match="got 1 and 2"):
        mean_absolute_error([1.0], [1.0, 2.0])


def test_equal_values_share_a_rank():
    assert ranks(np.array([10.0, 20.0, 20.0, 5.0])).tolist() == [2.0, 3.5, 3.5, 1.0]


def test_spearman_by_hand():
    # ranks of a: 1 2 3 4 5; of b: 2 1 4 3 5; Σd² = 4; 1 − 6·4 / (5·24) = 0.8
    assert spearman([1, 2, 3, 4, 5], [20, 10, 40, 30, 50]) == pytest.approx(0.8)
    assert spearman([1, 2, 3], [9, 4, 1]) == pytest.approx(-1.0)
    # with a tie: ranks 1 2 3 and 1 2.5 2.5: Pearson = 1.5 / √(2 · 1.5) = √3 / 2
    assert spearman([1, 2, 3], [1, 2, 2]) == pytest.approx(math.sqrt(3) / 2)
    assert spearman([1, 2], [5, 5]) is None
    with pytest.raises(ValueError, match="at least 2"):
        spearman([1], [1])
