"""The promises of ``nox -s simulate`` on fewer studies, give or take four standard errors of a share of them."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from simulate.__main__ import BAND, CLOSE, KINDS, cells
from simulate.coverage import cover
from simulate.power import powers
from simulate.world import World, draw

STUDIES = 1_000
CELLS = [pytest.param(world, id=f"{name}: {label}") for name, how in KINDS.items() for label, world in cells(how)]


def noise(share):
    """Four standard errors of a share measured in so many studies: √(p(1−p)/1000) is 0.0069 at 0.95."""
    return 4 * sqrt(share * (1 - share) / STUDIES)


@pytest.mark.parametrize("world", CELLS)
def test_the_primary_interval_covers_as_promised(world):
    one, two = cover(world, STUDIES, key=1, replicates=0)
    for found in (one.primary, two.primary):
        assert BAND[0] - noise(BAND[0]) <= found <= BAND[1] + noise(BAND[1])


@pytest.mark.parametrize("world", CELLS)
def test_the_planner_predicts_power(world):
    predicted, found = powers(replace(world, win_rates=(0.5, 0.4)), STUDIES, key=2)
    assert predicted == pytest.approx(found, abs=CLOSE + noise(predicted))


def test_the_session_says_where_a_promise_is_broken(monkeypatch, capsys):
    import simulate.__main__ as session

    monkeypatch.setattr(session, "DESIGNS", ((3, 30),))
    monkeypatch.setattr(session, "SEED_SDS", (0.0,))
    monkeypatch.setattr(session, "KINDS", {"plain": {}})
    argv = ["--studies", "4000", "--replicates", "20"]
    assert session.main(argv) == 0
    assert "in every cell" in capsys.readouterr().out
    monkeypatch.setattr(session, "BAND", (0.999, 1.0))
    monkeypatch.setattr(session, "CLOSE", -1.0)
    assert session.main(argv) == 1
    said = capsys.readouterr().out
    assert "plain, 3 × 30, 0: the primary interval of the difference covers" in said
    assert "plain, 3 × 30, 0: power" in said
    with pytest.raises(SystemExit):
        session.main(["--studies", "100"])


def test_seed_means_alone_do_not_know_the_prompts():
    """Why the primary interval is wider: in a real study t on seed means is right for just its prompts."""
    world = World(5, 100, (0.5, 0.4))
    one, two = cover(world, STUDIES, key=3, replicates=0)
    for found in (one.seed_means_here, two.seed_means_here):
        assert found == pytest.approx(0.95, abs=noise(0.95) + 0.006)  # Welch's covers 0.956 with five seeds
    assert one.seed_means < 0.8


def test_the_bootstrap_undercovers_where_seeds_differ():
    """Three seeds drawn again are no sample: the interval is a description."""
    found = cover(World(3, 300, (0.5, 0.4), (0.1, 0.1)), STUDIES, key=4, replicates=200)
    assert all(one.bootstrap < 0.9 for one in found)


@pytest.mark.parametrize("world", [World(3, 60, (0.5, 0.3), (0.05, 0.1)), World(4, 50, shared=0.0, own=0.0)])
def test_the_worlds_truth_is_what_it_says(world):
    """Means and variance components of the studies drawn, against those by quadrature."""
    studies = next(draw(world, 1_000, key=5))
    true, n = world.variances(), 1_000
    runs = [wins.astype(float).mean(axis=-1) for wins in studies.wins]
    for method, (run, rate) in enumerate(zip(runs, world.win_rates, strict=True)):
        assert run.mean() == pytest.approx(rate, abs=4 * run.mean(axis=1).std() / sqrt(n))
        expected = true.seeds[method] + true.residual[method] / world.prompts
        # A variance with ν degrees of freedom is known to √(2/ν); win rates are no normal numbers, so twice that.
        error = 8 * sqrt(2 / (n * (world.seeds - 1)))
        assert run.var(axis=1, ddof=1).mean() == pytest.approx(expected, rel=error)
    first, second = (wins.astype(float).mean(axis=1) for wins in studies.wins)
    difference_P = first - second
    chance = sum(true.residual) / world.seeds
    found = difference_P.var(axis=1, ddof=1).mean()
    assert found == pytest.approx(true.prompts + chance, rel=8 * sqrt(2 / (n * (world.prompts - 1))))
    ties = np.mean([(scores == 0.5).mean() for scores in studies.scores])
    assert ties == pytest.approx(world.tie_rate, abs=4 * sqrt(0.25 / (n * world.prompts)))


def test_the_win_rate_on_the_studys_own_prompts():
    # Many seeds on a few prompts come as close to it as chance lets them.
    world = World(400, 20, (0.5, 0.4), (0.05, 0.05))
    studies = next(draw(world, 50, key=6))
    gap = studies.wins[0].mean(axis=(1, 2)) - studies.on_prompts[0]
    true = world.variances()
    error = sqrt((true.seeds[0] + true.residual[0] / 20) / 400)
    assert np.abs(gap).max() < 4.5 * error
    assert gap.std() == pytest.approx(error, rel=4 * sqrt(1 / (2 * 50)))
