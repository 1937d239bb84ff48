import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from align_eval.algorithms.sign_test import sign_test


@pytest.mark.parametrize(("positive", "negative", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (9, 1, 22 / 1024), (3, 3, 1.0)])
def test_by_hand(positive, negative, p):
    """9 of 10: 2·(1 + 10)/2¹⁰."""
    assert sign_test(positive, negative) == p
    assert sign_test(negative, positive) == p


@given(st.integers(0, 400), st.integers(0, 400))
def test_against_scipy(positive, negative):
    expected = stats.binomtest(positive, positive + negative).pvalue if positive + negative else 1.0
    assert sign_test(positive, negative) == pytest.approx(expected)


def test_counts_are_not_negative():
    with pytest.raises(ValueError, match="0 or more"):
        sign_test(-1, 2)
