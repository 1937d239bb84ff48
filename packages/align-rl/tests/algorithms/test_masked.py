import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.masked import masked_mean, masked_whiten

MASK = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], np.float32)
REAL = MASK > 0


@pytest.fixture
def values():
    drawn = np.random.default_rng(0).normal(3.0, 5.0, MASK.shape)
    return np.where(REAL, drawn, 1e6).astype(np.float32)


def test_mean_of_real_tokens(values):
    assert masked_mean(mx.array(values), mx.array(MASK)).item() == pytest.approx(values[REAL].mean(), rel=1e-6)
    assert masked_mean(mx.array([[mx.nan, 2.0]]), mx.array([[0.0, 1.0]])).item() == 2.0
    assert masked_mean(mx.array([[7.0]]), mx.array([[0.0]])).item() == 0.0


def test_whitened_tokens_have_mean_0_and_std_1(values):
    found = np.array(masked_whiten(mx.array(values), mx.array(MASK)), np.float64)
    assert found[REAL].mean() == pytest.approx(0, abs=1e-6)
    assert found[REAL].std() == pytest.approx(1, abs=1e-5)
    assert not found[~REAL].any()
    real = values[REAL].astype(np.float64)
    np.testing.assert_allclose(found[REAL], (real - real.mean()) / real.std(), atol=1e-5)


def test_equal_values_whiten_to_zero():
    found = masked_whiten(mx.full((1, 3), 2.5), mx.ones((1, 3)))
    assert found.tolist() == [[0, 0, 0]]
    assert masked_whiten(mx.array([[2.5]]), mx.array([[0.0]])).tolist() == [[0]]
