import math

import numpy as np
import pytest

from align_eval.algorithms.overoptimization import Fit, fit, jackknife_beta

D = [0.1, 0.4, 0.9, 1.5, 2.2]


def curve(form, alpha, beta, distances=D):
    """The formulas of Gao et al., written out."""
    return [d * (alpha - beta * d) if form == "bon" else d * (alpha - beta * math.log(d)) for d in distances]


@pytest.mark.parametrize("form", ["bon", "rl"])
@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.7), (1.3, -0.4), (-0.5, 0.2)])
def test_exact_curves_are_found_again(form, alpha, beta):
    found = fit([0.0, *D], [0.0, *curve(form, alpha, beta)], form)
    assert (found.alpha, found.beta) == (pytest.approx(alpha), pytest.approx(beta))
    assert found.rmse == pytest.approx(0, abs=1e-12)
    assert found.n == 5  # the origin tells nothing
    assert [found.gain(d) for d in D] == pytest.approx(curve(form, alpha, beta))
    assert found.gain(0.0) == 0.0


@pytest.mark.parametrize("form", ["bon", "rl"])
def test_the_peak_is_the_highest_point(form):
    found = Fit(form, 2.0, 0.7, 0.0, 5)
    places = np.linspace(1e-3, 20, 2_000_001)
    heights = np.array(curve(form, 2.0, 0.7, places)) if form == "bon" else places * (2.0 - 0.7 * np.log(places))
    distance, gain = found.peak
    assert distance == pytest.approx(places[heights.argmax()], abs=1e-4)
    assert gain == pytest.approx(heights.max(), rel=1e-6)


def test_no_peak_where_the_curve_never_turns_down():
    assert Fit("bon", 1.0, -0.1, 0, 3).peak is None
    assert Fit("bon", -1.0, 0.1, 0, 3).peak is None  # falls from the start
    assert Fit("rl", 1.0, 0.0, 0, 3).peak is None
    assert Fit("rl", 1.0, 1e-4, 0, 3).peak is None  # exp(9999)
    assert Fit("rl", -1.0, 0.5, 0, 3).peak == (pytest.approx(math.exp(-3)), pytest.approx(0.5 * math.exp(-3)))


def test_least_squares_with_noise():
    """Against the normal equations (X'X)⁻¹X'y in float64."""
    rng = np.random.default_rng(0)
    d = rng.uniform(0.05, 2, 40)
    y = np.array(curve("rl", 1.0, 0.3, d)) + rng.normal(0, 0.05, 40)
    x = np.stack([d, -d * np.log(d)], 1)
    alpha, beta = np.linalg.inv(x.T @ x) @ x.T @ y
    found = fit(d, y, "rl")
    assert (found.alpha, found.beta) == (pytest.approx(alpha), pytest.approx(beta))
    assert found.rmse == pytest.approx(math.sqrt(((y - x @ [alpha, beta]) ** 2).mean()))


def test_too_little_to_fit():
    assert fit([0.1, 0.2], [1.0, 1.0], "bon") is None
    assert fit([0.0, 0.0, 0.1, 0.2], [0.0, 0.0, 1.0, 1.0], "bon") is None
    assert fit([0.3, 0.3, 0.3], [1.0, 1.1, 0.9], "rl") is None  # one distance cannot tell two slopes apart


@pytest.mark.parametrize(("d", "r"), [([0.1], [1.0, 2.0]), ([-0.1], [1.0]), ([math.nan], [1.0]), ([[0.1]], [[1.0]])])
def test_what_is_no_curve_is_refused(d, r):
    with pytest.raises(ValueError, match="fit: expected"):
        fit(d, r, "bon")


def test_the_jackknife_by_hand():
    """d in (1, 2) twice for three runs: leave-one-out betas and pseudo-values worked out with numpy's own solver."""
    runs = [([1.0, 2.0], [1.0, 1.5]), ([1.0, 2.0], [1.2, 1.4]), ([1.0, 2.0], [0.9, 1.0])]

    def beta(chosen):
        d, r = (np.array([x for run in chosen for x in run[axis]]) for axis in (0, 1))
        return np.linalg.solve([[d @ d, -d @ d**2], [-d @ d**2, d**2 @ d**2]], [d @ r, -(d**2) @ r])[1]

    pseudo = [3 * beta(runs) - 2 * beta([one for j, one in enumerate(runs) if j != i]) for i in range(3)]
    half = 4.302652729749464 * np.std(pseudo, ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom at 97.5 %
    low, high = jackknife_beta(runs, "bon")
    assert (low, high) == (pytest.approx(np.mean(pseudo) - half), pytest.approx(np.mean(pseudo) + half))
    assert jackknife_beta(runs[:2], "bon") is None


def test_the_jackknife_covers_the_truth():
    """400 studies of five runs whose own slopes differ: about 95 % of the intervals hold β."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        runs = []
        for _ in range(5):
            d = np.array([0.2, 0.5, 1.0, 1.5])
            r = d * (2 + rng.normal(0, 0.1) - (0.5 + rng.normal(0, 0.1)) * d) + rng.normal(0, 0.02, 4)
            runs.append((list(d), list(r)))
        low, high = jackknife_beta(runs, "bon")
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98
