import mlx.core as mx
import numpy as np
import pytest

from align_mlx.sampling import inverse_cdf, uniforms

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix(state: int) -> int:
    """One SplitMix64 output in plain integers: add the golden gamma, then mix (variant 13 of the finalizer)."""
    z = (state + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def place(seed: int, iteration: int, prompt: int, answer: int, t: int) -> float:
    """The number of one place: one coordinate after the other is mixed in."""
    state = splitmix(seed)
    for coordinate in (iteration, prompt, answer, t):
        state = splitmix((state + coordinate * GOLDEN) & MASK)
    return (state >> 40) / 2**24


def test_the_oracle_is_splitmix64():
    # Published test vector of SplitMix64 with seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    outputs = [splitmix((1234567 + i * GOLDEN) & MASK) for i in range(3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniforms_are_a_function_of_their_place():
    prompts, answers = np.array([0, 5, 2**62 + 12345]), np.array([0, 3, 1])
    found = uniforms(42, 7, prompts, answers, 4)
    assert found.dtype == np.float32
    expected = [
        [place(42, 7, p, k, t) for t in range(4)] for p, k in zip(prompts.tolist(), answers.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_a_longer_rollout_starts_with_the_same_numbers():
    prompts, answers = np.arange(3), np.arange(3)
    np.testing.assert_array_equal(uniforms(1, 2, prompts, answers, 9)[:, :4], uniforms(1, 2, prompts, answers, 4))


def test_uniforms_look_uniform():
    draws = uniforms(3, 0, np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200), 100).astype(np.float64)
    n = draws.size  # 100 000
    assert 0 <= draws.min() < draws.max() < 1
    # Mean 1/2 with standard error 1/√(12 n); five of them.
    assert abs(draws.mean() - 0.5) < 5 / np.sqrt(12 * n)
    # Variance 1/12; its standard error is √(1/180 / n).
    assert abs(draws.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / n)
    counts = np.histogram(draws, bins=64, range=(0, 1))[0]
    chi2 = ((counts - n / 64) ** 2 / (n / 64)).sum()
    assert chi2 < 114.8  # 99.99 % point of χ² with 63 degrees of freedom


def test_neighbouring_places_are_uncorrelated():
    def grid(seed: int, iteration: int) -> np.ndarray:
        return uniforms(seed, iteration, np.repeat(np.arange(100), 10), np.tile(np.arange(10), 100), 50) - 0.5

    here = grid(0, 0)
    cube = here.reshape(100, 10, 50)
    pairs = {
        "step": (here[:, 1:], here[:, :-1]),
        "answer": (cube[:, 1:], cube[:, :-1]),
        "prompt": (cube[1:], cube[:-1]),
        "iteration": (here, grid(0, 1)),
        "seed": (here, grid(1, 0)),
        "prompt for answer": (cube[1:10, 0], cube[0, 1:10]),
    }
    for name, (a, b) in pairs.items():
        correlation = np.mean(a * b) * 12
        assert abs(correlation) < 5 / np.sqrt(a.size), name


def test_inverse_cdf_hits_exact_shares():
    # Uniform numbers on a regular grid of n: each token's count is n·p up to one at each end of its interval.
    p = np.array([0.02, 0.3, 0.0, 0.18, 0.5, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 3.7
    n = 1000
    grid = mx.array((np.arange(n) + 0.5) / n, mx.float32)
    tokens = np.array(inverse_cdf(mx.broadcast_to(mx.array(logits, mx.float32), (n, 6)), grid, 1.0))
    counts = np.bincount(tokens, minlength=6)
    assert np.abs(counts - n * p).max() <= 1
    assert counts[2] == counts[5] == 0


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_inverse_cdf_draws_the_tempered_softmax(temperature):
    logits = np.array([0.3, -1.2, 2.0, 0.0, 1.1, -0.4, 0.9, -3.0])
    weights = np.exp(logits / temperature)
    p = weights / weights.sum()
    n = 20_000
    draws = uniforms(9, 1, np.arange(n), np.zeros(n), 1)[:, 0]
    tokens = inverse_cdf(mx.broadcast_to(mx.array(logits, mx.float32), (n, 8)), mx.array(draws), temperature)
    counts = np.bincount(np.array(tokens), minlength=8)
    chi2 = ((counts - n * p) ** 2 / (n * p)).sum()
    assert chi2 < 29.9  # 99.99 % point of χ² with 7 degrees of freedom


def test_inverse_cdf_at_the_ends_never_takes_an_impossible_token():
    logits = mx.array([[-mx.inf, 0.0, 1.0, -mx.inf]] * 2)
    ends = mx.array([0.0, 1 - 2**-24])
    assert inverse_cdf(logits, ends, 1.0).tolist() == [1, 2]


def test_blocks_without_weight_are_never_drawn():
    # 1 300 tokens are three blocks, the last one short. The weights are 1 at 600, 3 at 1 299, and 0 elsewhere.
    logits = np.full((4, 1300), -np.inf, np.float32)
    logits[:, 600], logits[:, 1299] = 0.0, np.log(3.0)
    draws = mx.array([0.0, 0.249, 0.251, 1 - 2**-24])
    assert inverse_cdf(mx.array(logits), draws, 1.0).tolist() == [600, 600, 1299, 1299]


def test_temperature_zero_is_greedy():
    assert inverse_cdf(mx.array([[0.1, 3.0, 2.9]]), mx.array([0.999]), 0).tolist() == [1]
