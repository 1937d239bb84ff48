import math

import mlx.core as mx
import numpy as np
import pytest

from align_rm.algorithms.bradley_terry import log_sigmoid, pair_losses, pairwise_accuracy


def test_log_sigmoid_by_hand():
    # σ(ln 3) = 3/4, σ(−ln 3) = 1/4, σ(0) = 1/2
    found = log_sigmoid(mx.array([math.log(3), -math.log(3), 0.0])).tolist()
    assert found == pytest.approx([math.log(0.75), math.log(0.25), math.log(0.5)], rel=1e-6)


def test_log_sigmoid_at_the_ends():
    # log σ(x) → x for x → −∞, −e^−x for x → ∞
    assert log_sigmoid(mx.array([-1e4, 1e4, 20.0])).tolist() == pytest.approx([-1e4, 0.0, -math.exp(-20)], rel=1e-4)
    slope = mx.grad(lambda x: log_sigmoid(x).sum())(mx.array([-1e4, 1e4]))
    assert slope.tolist() == pytest.approx([1.0, 0.0])


def test_gradient_at_zero_where_a_zero_head_starts():
    """d/dx log σ(x) = σ(−x): 1/2 at 0. A formula with |x| has 0 there and never learns."""
    assert mx.grad(log_sigmoid)(mx.array(0.0)).item() == 0.5


def test_pair_losses_by_hand():
    chosen, rejected, gaps = mx.array([2.0, 0.0]), mx.array([2.0 - math.log(3), 0.0]), mx.array([1.0, 4.0])
    plain = pair_losses(chosen, rejected, gaps).tolist()
    assert plain == pytest.approx([-math.log(0.75), math.log(2)], rel=1e-5)
    # margin ½: the second pair's margin becomes 0 − ½ · 4 = −2: log(1 + e²)
    assert pair_losses(chosen, rejected, gaps, margin=0.5)[1].item() == pytest.approx(math.log1p(math.exp(2)), rel=1e-5)
    # centering 0.01 adds 0.01 · (2 + 2 − ln 3)² to the first
    extra = pair_losses(chosen, rejected, gaps, centering=0.01)[0].item() - plain[0]
    assert extra == pytest.approx(0.01 * (4 - math.log(3)) ** 2, rel=1e-4)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="equal shapes"):
        pair_losses(mx.zeros(2), mx.zeros(3), mx.zeros(2))


def test_accuracy_counts_a_tie_half():
    assert pairwise_accuracy(np.array([1.0, -1.0, 0.0, 2.0])) == 0.625
    with pytest.raises(ValueError, match="at least one pair"):
        pairwise_accuracy(np.array([]))
