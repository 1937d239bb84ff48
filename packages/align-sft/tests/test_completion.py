import math

import mlx.core as mx
import pytest

from align_sft.algorithms.completion import negative_log_likelihood, perplexity
from align_sft.algorithms.divergence import kl_divergence


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


def test_perplexity():
    assert perplexity(3 * math.log(8), 3) == pytest.approx(8)
    assert perplexity(1e6, 1) == math.inf
    with pytest.raises(ValueError, match="one token"):
        perplexity(0.0, 0)


def test_kl_of_two_coins():
    # p = (¾, ¼), q = (½, ½): ¾ ln(3/2) + ¼ ln(1/2)
    p, q = mx.log(mx.array([[0.75, 0.25]])) + 3.0, mx.zeros((1, 2))
    assert kl_divergence(p, q).item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)
    assert kl_divergence(q, q).item() == 0.0
    with pytest.raises(ValueError, match="equal shapes"):
        kl_divergence(p, mx.zeros((1, 3)))
