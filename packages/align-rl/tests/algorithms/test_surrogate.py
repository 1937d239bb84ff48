import mlx.core as mx
import numpy as np
import pytest

from align_rl.algorithms.surrogate import clipped_surrogate, sequence_ratio, token_ratio, token_weights


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        # slope = d loss / d ratio. ε = 0.2: [0.8, 1.2].
        (1.5, 1.0, -1.2, 0.0),  # better than clipped: min(1.5, 1.2) = 1.2, no more gain
        (0.5, 1.0, -0.5, -1.0),  # min(0.5, 0.8) = 0.5: pulled back up
        (1.5, -1.0, 1.5, 1.0),  # min(−1.5, −1.2) = −1.5: pushed back down
        (0.5, -1.0, 0.8, 0.0),  # min(−0.5, −0.8) = −0.8, no more gain
        (1.1, 2.0, -2.2, -2.0),  # inside: −ratio·A
        (0.9, -2.0, 1.8, 2.0),
    ],
)
def test_each_side_and_sign(ratio, advantage, loss, slope):
    def value(r):
        return clipped_surrogate(r, mx.array([[advantage]]), clip_low=0.2, clip_high=0.2).sum()

    found, grad = mx.value_and_grad(value)(mx.array([[ratio]]))
    assert found.item() == pytest.approx(loss)
    assert grad.item() == pytest.approx(slope)


def test_clip_higher():
    # [0.8, 1.3]: a ratio of 1.25 is still inside on the upper side; 0.75 is not on the lower.
    loss = clipped_surrogate(mx.array([[1.25, 1.5, 0.75]]), mx.array([[1.0, 1.0, -1.0]]), clip_low=0.2, clip_high=0.3)
    np.testing.assert_allclose(loss, [[-1.25, -1.3, 0.8]], atol=1e-6)


def test_ratio_one_gives_the_policy_gradient():
    # At θ = θ_old the slope in log p is −A, clipped or not.
    old, advantages = mx.array([[-1.0, -2.5]]), mx.array([[0.7, -1.3]])

    def loss(logprobs):
        ratio = token_ratio(logprobs, old, mx.ones((1, 2)))
        return clipped_surrogate(ratio, advantages, clip_low=0.2, clip_high=0.2).sum()

    np.testing.assert_allclose(mx.grad(loss)(old), [[-0.7, 1.3]], atol=1e-6)


def test_token_ratio_on_real_tokens_only():
    # e^(−1 − (−1.5)) = e^0.5.
    found = token_ratio(mx.array([[-1.0, 90.0]]), mx.array([[-1.5, -90.0]]), mx.array([[1.0, 0.0]]))
    np.testing.assert_allclose(found, [[np.exp(0.5), 1.0]], rtol=1e-6)


@pytest.mark.parametrize("ratio_of", [token_ratio, sequence_ratio])
def test_padding_gives_no_nan_forwards_or_backwards(ratio_of):
    mask, old = mx.array([[1.0, 0.0]]), mx.array([[-1.0, -3e38]])
    value, grad = mx.value_and_grad(lambda x: (ratio_of(x, old, mask) * mask).sum())(mx.array([[-1.0, 3e38]]))
    assert value.item() == 1.0
    assert grad.tolist() == [[1.0, 0.0]]


def test_sequence_ratio_is_the_geometric_mean():
    # Log-ratios 0.3, −0.1, 0.4 (padding not counted): mean 0.2. Second answer: one token, 0.5.
    new = mx.array([[0.3, -0.1, 0.4, 7.0], [0.5, 7.0, 7.0, 7.0]])
    mask = mx.array([[1.0, 1, 1, 0], [1, 0, 0, 0]])
    found = sequence_ratio(new, mx.zeros((2, 4)), mask)
    np.testing.assert_allclose(found, np.exp([[0.2] * 4, [0.5] * 4]), rtol=1e-6)


def test_gspo_gradient_is_shared_by_the_tokens_of_an_answer():
    # s = exp(mean log-ratio), so ds/d log p_t = s / |y|; loss = Σ_t w_t (−s·A) with w_t = 1/(|y|·answers).
    # One answer of 4 tokens at ratio 1: slope −A/4 a token.
    mask = mx.ones((1, 4))

    def loss(logprobs):
        ratio = sequence_ratio(logprobs, mx.zeros((1, 4)), mask)
        token = clipped_surrogate(ratio, mx.full((1, 4), 2.0), clip_low=0.2, clip_high=0.2)
        return (token * token_weights(mask, "gspo", 99)).sum()

    np.testing.assert_allclose(mx.grad(loss)(mx.zeros((1, 4))), [[-0.5] * 4], atol=1e-6)


LENGTHS, WIDTH, LIMIT = [3, 1, 6], 8, 10
MASK = (np.arange(WIDTH) < np.array(LENGTHS)[:, None]).astype(np.float32)
LOSS = np.random.default_rng(1).normal(size=MASK.shape)
EXPECTED = {
    "grpo": np.mean([LOSS[i, :n].mean() for i, n in enumerate(LENGTHS)]),
    "gspo": np.mean([LOSS[i, :n].mean() for i, n in enumerate(LENGTHS)]),
    "dapo": sum(LOSS[i, :n].sum() for i, n in enumerate(LENGTHS)) / sum(LENGTHS),
    "dr_grpo": sum(LOSS[i, :n].sum() for i, n in enumerate(LENGTHS)) / (len(LENGTHS) * LIMIT),
}
# Sum of all weights: each mean sums to 1, the constant to tokens / (answers · limit) = 10 / 30.
SUMS = {"grpo": 1.0, "gspo": 1.0, "dapo": 1.0, "dr_grpo": 1 / 3}


@pytest.mark.parametrize("aggregation", list(EXPECTED))
def test_token_weights_give_the_papers_means(aggregation):
    weights = np.array(token_weights(mx.array(MASK), aggregation, LIMIT), np.float64)
    assert (weights * LOSS).sum() == pytest.approx(EXPECTED[aggregation], abs=1e-6)
    assert weights.sum() == pytest.approx(SUMS[aggregation], abs=1e-6)
    assert not weights[MASK == 0].any()


@pytest.mark.parametrize(("aggregation", "total"), {"grpo": 1, "gspo": 1, "dapo": 1, "dr_grpo": 10 / 40}.items())
def test_an_answer_without_tokens_takes_no_part_in_a_mean(aggregation, total):
    # A masked answer is in neither numerator nor denominator; only dr_grpo's constant counts it (4 answers · 10).
    mask = np.concatenate([MASK, np.zeros((1, WIDTH), np.float32)])
    weights = np.array(token_weights(mx.array(mask), aggregation, LIMIT), np.float64)
    assert weights.sum() == pytest.approx(total, abs=1e-6)
    assert not weights[3].any()


@pytest.mark.parametrize("aggregation", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_an_empty_answer_gives_no_nan(aggregation):
    assert np.isfinite(np.array(token_weights(mx.zeros((1, 3)), aggregation, LIMIT))).all()


def test_unknown_aggregation():
    with pytest.raises(ValueError, match="dr_grpo"):
        token_weights(mx.ones((1, 1)), "mean", 1)


@pytest.mark.parametrize("aggregation", ["grpo", "dapo", "dr_grpo", "gspo"])
def test_weights_need_answers_and_tokens(aggregation):
    with pytest.raises(ValueError, match="mask_BT"):
        token_weights(mx.ones(3), aggregation, LIMIT)


@pytest.mark.parametrize("advantage", [1.0, -1.0, 0.0])
@pytest.mark.parametrize("log_ratio", [-200.0, -88.0, 0.0, 80.0, 100.0])
def test_a_ratio_is_never_clamped_in_silence(log_ratio, advantage):
    """Up to e^88 everything is finite; beyond, loss or gradient is not a finite number, so that no step is taken."""
    one_BT, zero_BT = mx.ones((1, 1)), mx.zeros((1, 1))

    def loss(logprobs_BT):
        ratio_BT = token_ratio(logprobs_BT, zero_BT, one_BT)
        return clipped_surrogate(ratio_BT, advantage * one_BT, clip_low=0.2, clip_high=0.2).sum()

    value, grad = mx.value_and_grad(loss)(mx.full((1, 1), log_ratio))
    assert (np.isfinite(value.item()) and np.isfinite(grad.item())) == (log_ratio <= 88)
    if log_ratio <= 88:  # −min(ρA, clip(ρ)A), in float64
        rho = np.exp(log_ratio)
        assert value.item() == pytest.approx(-min(rho * advantage, np.clip(rho, 0.8, 1.2) * advantage), rel=1e-5)
