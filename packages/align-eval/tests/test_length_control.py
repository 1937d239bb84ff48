import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

from align_eval.algorithms.length_control import ALPACA_EVAL_2, WEAK, LengthPrior, length_controlled


def one_model(preferences, gaps, prior=WEAK):
    n = len(preferences)
    return length_controlled(preferences, gaps, np.zeros(n, int), np.arange(n), prior)[0]


def simulated(rng, n, strength, coefficient, mean_gap=0.0):
    gaps = rng.normal(mean_gap, 100.0, n)
    chance = expit(strength + coefficient * np.tanh(gaps / gaps.std(ddof=1)))
    return (rng.random(n) < chance).astype(float), gaps


def test_equal_lengths_leave_the_mean_preference():
    # Without a length term the score equation of θ is Σ(y − p) = θ/2.5²: with θ = logit 0.7 = 0.85 and 200 pairs,
    # p is less than 0.7 by 0.85/6.25/200 = 0.0007.
    found = one_model([1.0, 1.0, 0.0, 0.8] * 50, np.zeros(200))
    assert found.win_rate == pytest.approx(0.7 - 0.00068, abs=2e-5)
    # One strength only: the error is that of a mean, sd/√n.
    assert found.standard_error == pytest.approx(np.std([1.0, 1.0, 0.0, 0.8] * 50, ddof=1) / 200**0.5, rel=0.01)


def test_one_model_is_a_penalised_logistic_regression():
    """The oracle: the penalised likelihood written out, minimised by another method."""
    rng = np.random.default_rng(0)
    y, gaps = simulated(rng, 150, 0.5, 1.0, mean_gap=60.0)
    y = np.where(rng.random(150) < 0.3, 0.5, y)
    x = np.tanh(gaps / gaps.std(ddof=1))

    def loss(point):
        p = expit(point[0] + point[1] * x)
        pairs = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum()
        return pairs + point[0] ** 2 / (2 * 2.5**2) + point[1] ** 2 / (2 * (4.0**2 + 0.36**2))

    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}).x
    found = one_model(y, gaps)
    assert found.win_rate == pytest.approx(expit(best[0]), abs=1e-6)
    assert found.coefficient == pytest.approx(best[1], abs=1e-5)


def test_several_models_share_the_difficulty_of_an_instruction():
    """The oracle: the marginal likelihood by a fine sum over the difficulty, maximised by another method."""
    rng = np.random.default_rng(1)
    difficulty = rng.normal(0.0, 1.5, 25)
    gaps_2G = rng.normal(30.0, 50.0, (2, 25))
    x_2G = np.tanh(gaps_2G / gaps_2G.std(ddof=1, axis=1, keepdims=True))
    y_2G = (rng.random((2, 25)) < expit(np.array([[-0.5], [1.0]]) + x_2G + difficulty)).astype(float)
    prior = LengthPrior(strength_sd=10.0, mean=0.5, judge_sd=0.8, model_sd=0.4, difficulty_sd=0.0)
    density = stats.multivariate_normal([0.5, 0.5], [[0.8, 0.64], [0.64, 0.8]])  # 0.8² + 0.4² and 0.8²
    z = np.linspace(-9.0, 9.0, 3001)

    def likelihoods(point):
        """Weight of each difficulty and instruction (z, G), whose sum over z is the likelihood."""
        eta = (point[:2, None] + point[2:4, None] * x_2G)[..., None] + point[4] * z
        p = np.where(y_2G[..., None] == 1, expit(eta), expit(-eta)).prod(axis=0)
        return (p * stats.norm.pdf(z) * (z[1] - z[0])).T

    def loss(point):
        point = np.asarray(point)
        pairs = -np.log(likelihoods(point).sum(axis=0)).sum()
        return pairs - density.logpdf(point[2:4]) + (point[:2] ** 2).sum() / 200

    best = optimize.minimize(loss, [0.0, 0.0, 0.5, 0.5, 1.0], method="Nelder-Mead", options={"maxiter": 5000}).x
    models, groups = np.repeat([0, 1], 25), np.tile(np.arange(25), 2)
    found = length_controlled(y_2G.ravel(), gaps_2G.ravel(), models, groups, prior)
    weights = likelihoods(best) / likelihoods(best).sum(axis=0)
    for m, one in enumerate(found):
        equal = (expit(best[m] + best[4] * z)[:, None] * weights).sum(axis=0)
        assert one.win_rate == pytest.approx(equal.mean(), abs=1e-4)
        assert one.coefficient == pytest.approx(best[2 + m], abs=1e-3)
        assert one.difficulty_sd == pytest.approx(best[4], abs=1e-3)


def test_a_judge_that_prefers_length_is_exposed():
    """The judge looks at nothing but length; the candidate's answers are longer in four of five pairs."""
    rng = np.random.default_rng(2)
    gaps = rng.normal(84.0, 100.0, 400)
    longer = gaps > 0
    assert longer.mean() == pytest.approx(0.8, abs=0.03)
    found = one_model(longer.astype(float), gaps)
    assert found.win_rate == pytest.approx(0.5, abs=0.1)
    assert found.coefficient > 3.0
    # A better candidate of the same lengths keeps its rate: there length has no part in the verdict.
    fair = one_model((rng.random(400) < 0.8).astype(float), gaps)
    assert fair.win_rate == pytest.approx(0.8, abs=0.07)
    assert abs(fair.coefficient) < 0.6


def test_a_candidate_that_is_always_longer_is_not_believed():
    """Length and quality cannot be told apart: the rate is between one half and the raw rate, and its error large."""
    rng = np.random.default_rng(7)
    found = one_model((rng.random(300) < 0.8).astype(float), rng.normal(400.0, 80.0, 300))
    assert 0.5 < found.win_rate < 0.75
    assert found.standard_error > 3 * (0.8 * 0.2 / 300) ** 0.5


def test_the_truth_is_found_and_the_error_says_how_well():
    """300 studies of 300 pairs: logistic(0.4) at equal lengths, longer by half a standard deviation."""
    rng = np.random.default_rng(3)
    studies = [one_model(*simulated(rng, 300, 0.4, 1.2, mean_gap=50.0)) for _ in range(300)]
    rates = np.array([one.win_rate for one in studies])
    errors = np.array([one.standard_error for one in studies])
    assert rates.mean() == pytest.approx(expit(0.4), abs=0.01)  # the prior pulls by less than 0.01 at this size
    assert errors.mean() == pytest.approx(rates.std(ddof=1), rel=0.12)
    assert 0.90 <= (np.abs(rates - expit(0.4)) < 1.96 * errors).mean() <= 0.98  # ± 2.5 standard errors of 95 % at 300


def test_what_must_not_matter():
    rng = np.random.default_rng(4)
    y, gaps = simulated(rng, 120, 0.3, 0.8, mean_gap=40.0)
    models, groups = np.repeat([0, 1, 2], 40), np.tile(np.arange(40), 3)
    found = length_controlled(y, gaps, models, groups)
    order = rng.permutation(120)
    again = length_controlled(y[order], 7.0 * gaps[order], models[order], 90 - 2 * groups[order])
    mirrored = length_controlled(1.0 - y, -gaps, models, groups)
    for one, two, three in zip(found, again, mirrored, strict=True):
        assert two.win_rate == pytest.approx(one.win_rate, abs=1e-5)
        assert two.standard_error == pytest.approx(one.standard_error, rel=1e-3)
        assert three.win_rate == pytest.approx(1.0 - one.win_rate, abs=1e-5)
        assert three.coefficient == pytest.approx(one.coefficient, abs=1e-4)


def test_the_published_prior_holds_where_pairs_say_little():
    # Ten pairs, half of them won at random lengths: the coefficient stays within its prior, 1.55 ± 0.36.
    rng = np.random.default_rng(5)
    found = one_model([1.0, 0.0] * 5, rng.normal(-100.0, 100.0, 10), ALPACA_EVAL_2)
    assert abs(found.coefficient - 1.55) < 0.7
    assert found.win_rate > 0.5  # answers shorter by a standard deviation that win half are better than half


def test_lengths_that_never_vary_tell_nothing():
    found = length_controlled([1.0, 0.0, 1.0, 0.0, 1.0], [50.0, 50.0, 0.0, 0.0, 0.0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 2])
    assert (found[0].win_rate, found[0].coefficient) == (None, None)
    p = found[1].win_rate  # as above: 3·(2/3 − p) = θ/2.5²
    assert 3 * (2 / 3 - p) == pytest.approx(np.log(p / (1 - p)) / 6.25, abs=1e-5)
    assert one_model([1.0, 1.0], [9.0, 9.0]).win_rate is None
    assert one_model([0.5], [0.0]).standard_error is None


def test_a_winner_of_everything_stays_finite():
    rng = np.random.default_rng(6)
    found = one_model(np.ones(50), rng.normal(100.0, 10.0, 50))
    assert 0.75 < found.win_rate < 1.0
    assert np.isfinite(found.standard_error)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (([1.0], [0.0, 1.0], [0], [0]), "equal flat arrays"),
        (([], [], [], []), "at least one pair"),
        (([1.5], [0.0], [0], [0]), r"\[0, 1\]"),
        (([float("nan")], [0.0], [0], [0]), r"\[0, 1\]"),
        (([1.0], [float("inf")], [0], [0]), "finite gaps"),
        (([1.0, 0.0], [0.0, 1.0], [0, 2], [0, 1]), "every code"),
    ],
)
def test_wrong_arrays_are_refused(arrays, words):
    with pytest.raises(ValueError, match=words):
        length_controlled(*arrays)
