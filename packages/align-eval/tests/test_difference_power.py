import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.difference_power import (
    Design,
    Variances,
    detectable_difference,
    outcome_variances,
    power_of_difference,
    prompts_needed,
    run_variances,
    seeds_needed,
)

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)


def welch_power(difference, seeds, sd):
    """Power of Welch's test for two groups of equal size and spread, another way.

    The share B of one group's variance in the sum is Beta((S−1)/2, (S−1)/2) and independent of the sum, so t is
    non-central with 2(S−1) degrees of freedom while its bound has (S−1)/(B² + (1−B)²): a mean over B.
    """
    share = stats.beta.ppf((NODES + 1) / 2, (seeds - 1) / 2, (seeds - 1) / 2)
    bound = stats.t.ppf(0.975, (seeds - 1) / (share**2 + (1 - share) ** 2))
    df, delta = 2 * (seeds - 1), difference / (sd * np.sqrt(2 / seeds))
    found = stats.nct.sf(bound, df, delta) + stats.nct.cdf(-bound, df, delta)
    return float(found @ WEIGHTS / 2)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("difference", [0.0, 0.05, 0.1])
def test_against_the_noncentral_t(seeds, difference):
    # Seeds alone vary, by 0.05²: nothing is left to prompts or to chance.
    variances = Variances((0.0025, 0.0025), (0.0, 0.0))
    found = power_of_difference(difference, Design((seeds, seeds), 100), variances)
    assert found == pytest.approx(welch_power(difference, seeds, 0.05), abs=1e-4)


def test_with_many_seeds_it_is_the_normal_test():
    # 10 000 seeds: no spread is unknown. se = √(2·0.04²/10 000 + 0.5/500) = 0.0316; power = Φ(0.1/se − 1.96).
    variances = Variances((0.0016, 0.0016), (0.0, 0.0), 0.5)
    se = np.sqrt(2 * 0.0016 / 10_000 + 0.5 / 500)
    found = power_of_difference(0.1, Design((10_000, 10_000), 500), variances)
    assert found == pytest.approx(stats.norm.cdf(0.1 / se - 1.96), abs=2e-3)


def test_unequal_groups_against_simulated_studies():
    # Normal seeds' means and a known part of the prompts; 40 000 studies: four standard errors are 0.01.
    rng = np.random.default_rng(11)
    variances, design = Variances((0.0004, 0.01), (0.09, 0.18), 0.06), Design((3, 6), 300)
    n, sds = 40_000, np.sqrt(run_variances(variances, 300))
    first = rng.normal(0.15, sds[0], (n, 3)), rng.normal(0.0, sds[1], (n, 6))
    v1, v2 = (one.var(1, ddof=1) / one.shape[1] for one in first)
    known = 0.06 / 300
    value = first[0].mean(1) - first[1].mean(1) + rng.normal(0.0, np.sqrt(known), n)
    bound = stats.t.ppf(0.975, (v1 + v2) ** 2 / (v1**2 / 2 + v2**2 / 5)) * (v1 + v2) + stats.t.ppf(0.975, 299) * known
    simulated = (np.abs(value) > bound / np.sqrt(v1 + v2 + known)).mean()
    assert power_of_difference(0.15, design, variances) == pytest.approx(simulated, abs=0.01)


def test_variances_of_outcomes():
    # w = 0.4: 0.24 in all, 0.01 of it the seeds', of the other 0.23 half the prompt's and a tenth the method's own.
    found = outcome_variances(0.4, (0.1, 0.1), 0.5, 0.1)
    assert found.seeds == pytest.approx((0.01, 0.01))
    assert found.residual == pytest.approx((0.092, 0.092))
    assert found.prompts == pytest.approx(0.046)
    assert run_variances(found, 100) == pytest.approx((0.01092, 0.01092))


def test_what_is_detectable_has_the_wanted_power():
    design, variances = Design((3, 3), 300), outcome_variances(0.5, (0.02, 0.02))
    for wanted in (0.5, 0.8, 0.95):
        difference = detectable_difference(design, variances, wanted)
        assert power_of_difference(difference, design, variances) == pytest.approx(wanted, abs=1e-6)
    assert detectable_difference(design, variances, 0.01) == 0.0  # the test alone is found that often
    assert detectable_difference(Design((2, 2), 2), variances) is None  # not even a difference of 1


def test_what_is_needed_is_the_least_that_is_enough():
    design, variances = Design((3, 3), 300), outcome_variances(0.5, (0.02, 0.02))
    seeds = seeds_needed(0.05, design, variances)
    assert power_of_difference(0.05, Design((seeds, seeds), 300), variances) >= 0.8
    assert power_of_difference(0.05, Design((seeds - 1, seeds - 1), 300), variances) < 0.8
    prompts = prompts_needed(0.1, design, outcome_variances(0.5, (0.0, 0.0)))
    assert power_of_difference(0.1, Design((3, 3), prompts), outcome_variances(0.5, (0.0, 0.0))) >= 0.8
    assert power_of_difference(0.1, Design((3, 3), prompts - 1), outcome_variances(0.5, (0.0, 0.0))) < 0.8


def test_some_differences_no_number_of_prompts_can_show():
    # Three seeds that spread by 0.1 give se = 0.082 whatever the prompts: 5 points are never found.
    design, variances = Design((3, 3), 300, strata=3), outcome_variances(0.5, (0.1, 0.1))
    assert prompts_needed(0.05, design, variances) is None
    # Prompts on which the methods differ put a floor under the seeds in turn: √(0.1/100) = 0.032.
    assert seeds_needed(0.05, Design((3, 3), 100), Variances((0.0, 0.0), (0.1, 0.1), 0.1)) is None
    assert prompts_needed(0.9, Design((100, 100), 300, strata=3), variances) == 4  # one more than the categories


@pytest.mark.parametrize(
    "settings", [(0.0, (0, 0)), (0.5, (0.5, 0)), (0.5, (-0.1, 0)), (0.5, (0, 0), 0.6, 0.4), (0.5, (0, 0), -0.1)]
)
def test_impossible_variances(settings):
    with pytest.raises(ValueError, match="outcome_variances: expected"):
        outcome_variances(*settings)


@pytest.mark.parametrize("design", [Design((1, 3), 10), Design((3, 3), 2, strata=2)])
def test_too_small_designs(design):
    with pytest.raises(ValueError, match="power_of_difference: expected"):
        power_of_difference(0.1, design, outcome_variances(0.5, (0, 0)))
