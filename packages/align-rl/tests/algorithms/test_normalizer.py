import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.normalizer import ScoreNormalizer


def test_two_updates_by_hand():
    # Scores 1, 5: mean 3, std 2 → mean 3, std 0.99 + 0.01·2 = 1.01.
    # Scores 13, 13: mean 0.99·3 + 0.01·13 = 3.1, std 0.99·1.01 = 0.9999.
    one = ScoreNormalizer().update(mx.array([1.0, 5.0]))
    assert (one.mean, one.std) == pytest.approx((3.0, 1.01))
    two = one.update(mx.array([13.0, 13.0]))
    assert (two.mean, two.std) == pytest.approx((3.1, 0.9999))


def test_scores_are_centred_on_3_and_clipped_to_1_and_5():
    # (4 − 2) / 0.5 = 4 above 3 → 5; (2.4 − 2) / 0.5 = 0.8 → 3.8; (0 − 2) / 0.5 = −4 → 1.
    found = ScoreNormalizer(mean=2.0, std=0.5).normalize(mx.array([[4.0, 2.4, 0.0]]))
    np.testing.assert_allclose(found, [[5.0, 3.8, 1.0]], atol=1e-6)


def test_it_starts_as_the_seed_does():
    start = ScoreNormalizer()
    assert (start.mean, start.std, start.alpha) == (3.0, 1.0, 0.99)
    np.testing.assert_allclose(start.normalize(mx.array([2.5, 3.0, 9.0])), [2.5, 3.0, 5.0])


def test_alpha_zero_is_the_batch_and_one_never_moves():
    scores = mx.array([[0.0, 2.0], [4.0, 6.0]])  # mean 3, variance (9 + 1 + 1 + 9) / 4 = 5
    batch = ScoreNormalizer(alpha=0.0).update(scores)
    assert (batch.mean, batch.std) == pytest.approx((3.0, np.sqrt(5)))
    assert ScoreNormalizer(alpha=1.0).update(scores) == ScoreNormalizer(alpha=1.0)


def test_no_spread_does_not_divide_by_zero():
    assert ScoreNormalizer(mean=3.0, std=0.0).normalize(mx.array([3.0, 4.0])).tolist() == [3.0, 5.0]
