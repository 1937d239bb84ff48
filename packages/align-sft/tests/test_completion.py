import math

import mlx.core as mx
import pytest

from align_sft.algorithms.completion import negative_log_likelihood


def test_only_masked_tokens_count():
    logprobs = mx.log(mx.array([[0.5, 0.25, 1e-30], [0.125, 1.0, 0.5]]))
    mask = mx.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    # −ln ½ − ln ¼ − ln ⅛ = 6 ln 2
    assert negative_log_likelihood(logprobs, mask).item() == pytest.approx(6 * math.log(2))


def test_padding_cannot_give_nan():
    logprobs = mx.array([[math.log(0.5), -math.inf]])
    mask = mx.array([[1.0, 0.0]])
    value, grad = mx.value_and_grad(lambda x: negative_log_likelihood(x, mask))(logprobs)
    assert value.item() == pytest.approx(math.log(2))
    assert grad.tolist() == [[-1.0, 0.0]]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="equal shapes"):
        negative_log_likelihood(mx.zeros((2, 3)), mx.zeros((2, 2)))
