"""The blocked softmax against the whole one in float64, for every kind of head and any block sizes."""

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from align_mlx.head import Head
from align_mlx.softmax import Blocks, kl_divergence, target_statistics

N, D, V = 11, 64, 50
TEMPERATURE = 0.7
KINDS = {
    "dense": {},
    "scaled": {"scale": 0.25},
    "capped": {"softcap": 5.0},
    "scaled, capped, with a bias": {"scale": 0.5, "softcap": 3.0, "bias": True},
    "4 bits": {"bits": 4},
    "4 bits, capped": {"bits": 4, "softcap": 5.0},
}
BLOCKS = [Blocks(), Blocks(4, 7), Blocks(1, 1), Blocks(100, V)]


class Exact:
    """The same head in float64, all of the vocabulary at once; its gradient by central differences."""

    def __init__(self, linear: nn.Module, scale: float, softcap: float | None):
        weight = linear.weight
        if isinstance(linear, nn.QuantizedLinear):
            weight = mx.dequantize(weight, linear.scales, linear.biases, linear.group_size, linear.bits)
        self.weight, self.bias = np.array(weight, np.float64), np.array(linear.get("bias", 0.0), np.float64)
        self.scale, self.softcap = scale, softcap

    def log_softmax(self, hidden: np.ndarray) -> np.ndarray:
        logits = self.scale * (hidden @ self.weight.T + self.bias)
        if self.softcap is not None:
            logits = self.softcap * np.tanh(logits / self.softcap)
        shifted = logits / TEMPERATURE
        shifted = shifted - shifted.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def statistics(self, hidden: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logp = self.log_softmax(hidden)
        return logp[np.arange(len(targets)), targets], -(np.exp(logp) * logp).sum(axis=-1)

    def gradient(self, hidden, targets, weights, h=1e-5) -> np.ndarray:
        grad = np.zeros_like(hidden)
        for d in range(hidden.shape[1]):
            aside = np.zeros_like(hidden)
            aside[:, d] = h
            high, low = self.statistics(hidden + aside, targets), self.statistics(hidden - aside, targets)
            grad[:, d] = sum(w * (b - a) for w, b, a in zip(weights, high, low, strict=True)) / (2 * h)
        return grad


@pytest.fixture(params=KINDS, scope="module")
def case(request):
    """(head, the same in float64, hidden states, targets)."""
    kind = dict(KINDS[request.param])
    rng = np.random.default_rng(4)
    linear = nn.Linear(D, V, bias=kind.pop("bias", False))
    linear.weight = mx.array(rng.normal(0, 0.5, (V, D)), mx.float32)
    if "bias" in linear:
        linear.bias = mx.array(rng.normal(0, 1, V), mx.float32)
    if bits := kind.pop("bits", 0):
        linear = nn.QuantizedLinear.from_linear(linear, 32, bits)
    head = Head(linear, **kind)
    hidden = mx.array(rng.normal(0, 1.5, (N, D)), mx.float32)
    return head, Exact(linear, head.scale, head.softcap), hidden, mx.array(rng.integers(0, V, N))


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("gradient", [True, False])
def test_values(case, blocks, gradient):
    head, exact, hidden, targets = case
    how = {"temperature": TEMPERATURE, "blocks": blocks, "gradient": gradient}
    logprobs, entropy = target_statistics(head, hidden, targets, entropy=True, **how)
    expected = exact.statistics(np.array(hidden, np.float64), np.array(targets))
    np.testing.assert_allclose(logprobs, expected[0], atol=2e-5)
    np.testing.assert_allclose(entropy, expected[1], atol=5e-6)
    alone, nothing = target_statistics(head, hidden, targets, **how)
    np.testing.assert_array_equal(alone, logprobs)
    assert nothing is None


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("prepared", [True, False])
def test_gradients(case, blocks, prepared):
    head, exact, hidden, targets = case
    weights = np.random.default_rng(5).normal(size=(2, N))

    def loss(states):
        how = {"temperature": TEMPERATURE, "blocks": blocks, "gradient": prepared}
        found = target_statistics(head, states, targets, entropy=True, **how)
        return sum((f * mx.array(w, mx.float32)).sum() for f, w in zip(found, weights, strict=True))

    expected = exact.gradient(np.array(hidden, np.float64), np.array(targets), weights)
    found = np.array(mx.grad(loss)(hidden))
    assert np.linalg.norm(found - expected) < 5e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_kl(case, blocks):
    head, exact, hidden, _ = case
    other = hidden + 0.3 * mx.random.normal(hidden.shape, key=mx.random.key(0))
    p, q = (exact.log_softmax(np.array(h, np.float64)) for h in (hidden, other))
    found = kl_divergence(head, hidden, head, other, temperature=TEMPERATURE, blocks=blocks)
    np.testing.assert_allclose(found, (np.exp(p) * (p - q)).sum(axis=-1), atol=3e-5)
    np.testing.assert_allclose(kl_divergence(head, hidden, head, hidden, blocks=blocks), np.zeros(N), atol=1e-5)


def test_two_vocabularies_cannot_be_compared():
    small, large = Head(nn.Linear(4, 3)), Head(nn.Linear(4, 5))
    with pytest.raises(ValueError, match="3 and 5"):
        kl_divergence(small, mx.zeros((1, 4)), large, mx.zeros((1, 4)))


def test_a_coin_by_hand():
    # W = (ln 3, 0), h = 1: p = (¾, ¼), H = ¼ ln 4 + ¾ ln(4/3); KL to the fair coin ¾ ln(3/2) − ¼ ln 2.
    linear = nn.Linear(1, 2, bias=False)
    linear.weight = mx.array([[np.log(3.0)], [0.0]], mx.float32)
    head, one = Head(linear), mx.ones((1, 1))
    logprobs, entropy = target_statistics(head, one, mx.array([0]), entropy=True)
    assert logprobs.item() == pytest.approx(np.log(0.75), abs=1e-6)
    assert entropy.item() == pytest.approx(0.25 * np.log(4) + 0.75 * np.log(4 / 3), abs=1e-6)
    divergence = kl_divergence(head, one, head, mx.zeros((1, 1)))
    assert divergence.item() == pytest.approx(0.75 * np.log(1.5) - 0.25 * np.log(2), abs=1e-6)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_huge_logits_stay_finite(blocks):
    linear = nn.Linear(1, 3, bias=False)
    linear.weight = mx.array([[1e4], [-1e4], [0.0]])
    found, entropy = target_statistics(Head(linear), mx.ones((1, 1)), mx.array([1]), entropy=True, blocks=blocks)
    assert found.item() == pytest.approx(-2e4)
    assert entropy.item() == pytest.approx(0.0, abs=1e-6)


def test_no_array_is_as_wide_as_the_vocabulary():
    # All logits would be 80 MB; blocks of 100 × 1000 are 0.4 MB, a few of which exist at the same time.
    tokens, width, vocabulary = 500, 8, 40_000
    linear = nn.Linear(width, vocabulary, bias=False)
    hidden, targets = mx.random.normal((tokens, width)), mx.zeros(tokens, mx.int32)
    mx.eval(linear.parameters(), hidden, targets)

    def loss(states):
        return target_statistics(Head(linear), states, targets, blocks=Blocks(100, 1000))[0].sum()

    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(mx.grad(loss)(hidden))
    assert mx.get_peak_memory() - before < tokens * vocabulary * 4 / 10


# bf16 rounds the logits, here about 9, to 0.03, so probabilities and with them gradients to some percent.
@pytest.mark.parametrize(("dtype", "tolerance"), [(mx.float32, 1e-4), (mx.bfloat16, 0.1)])
@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("confidence", [0.9, 0.99, 0.9999])
def test_gradients_of_sure_tokens_do_not_cancel(dtype, tolerance, blocks, confidence):
    """p(y) near 1: W_y − E_p[W] would be a small difference of large numbers; each token is held by itself."""
    rng = np.random.default_rng(6)
    linear = nn.Linear(D, V, bias=False)
    linear.weight = mx.array(rng.normal(0, 1, (V, D)), mx.float32).astype(dtype).astype(mx.float32)
    exact, targets = Exact(linear, 1.0, None), np.arange(N)
    linear.weight = linear.weight.astype(dtype)
    hidden = np.zeros((N, D))
    for i in range(N):  # along the target's own row, until it is as likely as asked for
        direction = exact.weight[i] / np.linalg.norm(exact.weight[i])
        low, high = 0.0, 100.0
        for _ in range(60):
            middle = (low + high) / 2
            sure = np.exp(exact.log_softmax(middle * direction[None])[0, i]) > confidence
            low, high = (low, middle) if sure else (middle, high)
        hidden[i] = high * direction
    states = mx.array(hidden, mx.float32).astype(dtype)
    states64 = np.array(states.astype(mx.float32), np.float64)
    for which in (0, 1):

        def loss(h, which=which):
            how = {"temperature": TEMPERATURE, "blocks": blocks, "entropy": True}
            return target_statistics(Head(linear), h, mx.array(targets), **how)[which].sum()

        found = np.array(mx.grad(loss)(states).astype(mx.float32), np.float64)
        weights = [np.eye(2)[which][k] * np.ones(N) for k in (0, 1)]
        expected = exact.gradient(states64, targets, weights)
        apart = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert apart.max() < tolerance
