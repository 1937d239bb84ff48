import mlx.core as mx
import pytest

from align_rl.algorithms.checks import same_shape


def test_equal_shapes_pass():
    same_shape(2, a_BT=mx.zeros((2, 3)), b_BT=mx.ones((2, 3)))


@pytest.mark.parametrize(("a", "b"), [((2, 3), (3, 2)), ((2, 3), (2, 1)), ((2, 3), (2,)), ((6,), (6,))])
def test_a_mismatch_names_both_arrays(a, b):
    with pytest.raises(ValueError, match=r"rank 2.*'a_BT'.*'b_BT'"):
        same_shape(2, a_BT=mx.zeros(a), b_BT=mx.zeros(b))
