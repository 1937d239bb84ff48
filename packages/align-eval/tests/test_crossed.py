import math

import numpy as np
import pytest
from scipy import stats

from align_eval.algorithms.crossed import components, contrast

# Two seeds on four prompts. Means 0.75 and 0.25: s² = 0.125.
TABLE = np.array([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
ONE = ["a"] * 4


def test_by_hand():
    # Prompt means 1, ½, 0, ½ have variance (0.25 + 0.25)/3 = 1/6. Residuals x − seed − prompt + grand (½):
    # seed 42: −¼, ¼, −¼, ¼; the other one mirrored: sum of squares 8/16, over (2−1)(4−1) = 3 degrees: e² = 1/6.
    # So the prompts differ by (1/6 − (1/6)/2)/4 = 1/48, the seeds by 0.125/2.
    found = contrast([TABLE], [1.0], ONE)
    assert float(found.value) == 0.5
    assert float(found.seed_variance) == pytest.approx(1 / 16)
    assert float(found.prompt_variance) == pytest.approx(1 / 48)
    assert (float(found.seed_df), found.prompt_df) == (1.0, 3)
    # Quantile: t(0.975; 1) = 12.706 weighs 3, t(0.975; 3) = 3.182 weighs 1; se = √(4/48).
    half = (3 * 12.7062 + 3.1824) / 4 * math.sqrt(1 / 12)
    assert [float(end) for end in found.interval()] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)


def test_components_by_hand():
    # As above: s² = 0.125, e² = 1/6, so true seeds vary by 0.125 − (1/6)/4 = 1/12.
    found = components(TABLE, ONE)
    assert [float(x) for x in (found.runs, found.seeds, found.residual)] == pytest.approx([1 / 8, 1 / 12, 1 / 6])


def test_components_are_the_true_ones_on_average():
    # Three seeds of variance 0.04, prompts of 1, chance of 0.25. 4 000 studies: s² = 0.04 + 0.25/20 is known to
    # √(2/2/4000) = 1.6 %, e² with 38 degrees each to √(2/38/4000) = 0.4 %; the prompts' part, 1/20, by 19 to 0.5 %.
    rng = np.random.default_rng(6)
    table = rng.normal(0, 0.2, (4000, 3, 1)) + rng.normal(0, 1, (4000, 1, 20)) + rng.normal(0, 0.5, (4000, 3, 20))
    found = components(table, ["a"] * 20)
    assert found.runs.mean() == pytest.approx(0.04 + 0.25 / 20, rel=0.065)
    assert found.residual.mean() == pytest.approx(0.25, rel=0.015)
    assert contrast([table], [1.0], ["a"] * 20).prompt_variance.mean() == pytest.approx(1 / 20, rel=0.025)


def test_without_prompt_effects_it_is_students_and_welchs_interval():
    # Columns that only seeds move: no prompt differs from another.
    means = [0.2, 0.5, 0.6], [0.9, 0.3]
    first, second = (np.repeat(np.array(one)[:, None], 6, axis=1) for one in means)
    welch = stats.ttest_ind(*means, equal_var=False)
    found = contrast([first, second], [1.0, -1.0], list("aabbcc"))
    expected = welch.confidence_interval(0.95)
    assert [float(end) for end in found.interval()] == pytest.approx([expected.low, expected.high])
    assert 2 * found.tail(0.0) == pytest.approx(welch.pvalue)
    student = stats.ttest_1samp(means[0], 0.5)
    one = contrast([first], [1.0], list("aabbcc"))
    expected = student.confidence_interval(0.95)
    assert [float(end) for end in one.interval()] == pytest.approx([expected.low, expected.high])
    assert 2 * one.tail(0.5) == pytest.approx(student.pvalue)


def test_on_these_prompts_is_the_t_interval_of_the_seeds_means():
    rng = np.random.default_rng(3)
    tables = [rng.random((3, 40)) + np.linspace(0, 5, 40), rng.random((4, 40))]
    found = contrast(tables, [1.0, -1.0], ["a"] * 20 + ["b"] * 20)
    expected = stats.ttest_ind(*(table.mean(1) for table in tables), equal_var=False).confidence_interval(0.95)
    assert found.prompt_variance > 0.0
    assert [float(end) for end in found.on_these_prompts.interval()] == pytest.approx([expected.low, expected.high])


def test_what_a_prompt_does_to_both_methods_cancels():
    rng = np.random.default_rng(4)
    tables = [rng.random((3, 50)), rng.random((3, 50))]
    hard = rng.normal(scale=10.0, size=50)
    plain, shifted = (contrast([t + shift for t in tables], [1.0, -1.0], ["a"] * 50) for shift in (0.0, hard))
    for name in ("value", "seed_variance", "prompt_variance"):
        assert float(getattr(plain, name)) == pytest.approx(float(getattr(shifted, name)), abs=1e-12)


def test_categories_are_held_fixed():
    # The categories differ by 5 and nothing else does: other prompts of the same categories give the same mean.
    table = np.array([[0.0] * 10 + [5.0] * 10] * 3)
    assert float(contrast([table], [1.0], ["a"] * 10 + ["b"] * 10).prompt_variance) == 0.0
    # As one stratum: variance of ten 0 and ten 5 is 125/19, of the mean a 20th of it.
    assert float(contrast([table], [1.0], ["a"] * 20).prompt_variance) == pytest.approx(125 / 19 / 20)
    # A category with one prompt has no spread of its own: all prompts are one stratum then.
    alone = contrast([table], [1.0], ["a"] * 10 + ["b"] * 9 + ["c"])
    assert float(alone.prompt_variance) == pytest.approx(125 / 19 / 20)


def test_many_studies_at_once_are_each_study_alone():
    rng = np.random.default_rng(5)
    first, second = rng.random((4, 3, 20)), rng.random((4, 2, 20))
    strata = ["a"] * 8 + ["b"] * 12
    together = contrast([first, second], [1.0, -1.0], strata)
    low, high = together.interval()
    for i in range(4):
        alone = contrast([first[i], second[i]], [1.0, -1.0], strata)
        assert (float(low[i]), float(high[i])) == pytest.approx(tuple(map(float, alone.interval())))


def test_no_spread_has_no_width_and_no_p():
    table = np.full((3, 5), 0.1 + 0.2)
    found = contrast([table], [1.0], ["a"] * 5)
    assert float(found.se) == 0.0
    assert [float(end) for end in found.interval()] == pytest.approx([0.3, 0.3])
    assert found.tail(0.5) is None


def test_p_and_interval_agree():
    found = contrast([TABLE], [1.0], ONE)
    low, _ = (float(end) for end in found.interval(0.9))
    assert found.tail(low) == pytest.approx(0.05)
    assert found.tail(0.5) == pytest.approx(0.5)
    exact = contrast([np.array([[1.0] * 5, [1.0 + 1e-9] * 5] * 20)], [1.0], ["a"] * 5)
    assert exact.tail(-1.0) == 0.0


@pytest.mark.parametrize(
    ("tables", "coefficients", "strata"),
    [
        ([TABLE[:1]], [1.0], ONE),
        ([TABLE], [1.0, -1.0], ONE),
        ([TABLE], [1.0], ONE[:3]),
        ([TABLE, TABLE[:, :3]], [1.0, -1.0], ONE),
        ([TABLE[0]], [1.0], ONE),
        ([], [], ONE),
    ],
)
def test_refusals(tables, coefficients, strata):
    with pytest.raises(ValueError, match="crossed: expected"):
        contrast(tables, coefficients, strata)
