import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_eval.render.plots.scale import Scale, extent, labels, ticks


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 1.0, 6, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 1.0, 5, [0.0, 0.5, 1.0]),
        (0.38, 0.84, 7, [0.4, 0.5, 0.6, 0.7, 0.8]),
        (-6.1, 2.2, 7, [-6.0, -4.0, -2.0, 0.0, 2.0]),
        (0.0, 800.0, 6, [0.0, 200.0, 400.0, 600.0, 800.0]),
    ],
)
def test_ticks_are_round(low, high, most, expected):
    assert ticks(low, high, most) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 9))
def test_ticks_lie_in_the_range_and_are_few(low, width, most):
    found = ticks(low, low + width, most)
    slack = 1e-6 * max(abs(low), width)
    assert 1 <= len(found) <= most
    assert all(low - slack <= tick <= low + width + slack for tick in found)


def test_labels_have_the_decimals_of_their_distance():
    assert labels([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]
    assert labels([-2.0, 0.0, 2.0]) == ["−2", "0", "2"]
    assert labels([0.5, 0.75], percent=True) == ["50 %", "75 %"]


def test_extent_is_never_empty():
    assert extent([1.0, 3.0], pad=0.1) == pytest.approx((0.8, 3.2))
    assert extent([1.0, 3.0], zero=True, pad=0.1) == pytest.approx((0.0, 3.3))
    for values in ([], [0.0], [5.0, 5.0], [-2.0]):
        low, high = extent(values)
        assert low < high


def test_scale_is_a_straight_line():
    scale = Scale(0.0, 10.0, 100.0, 50.0)
    assert [scale(v) for v in (0.0, 5.0, 10.0)] == [100.0, 75.0, 50.0]
    assert math.isclose(scale(11.0), 45.0)
