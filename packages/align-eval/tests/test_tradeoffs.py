import pytest
from scipy import stats

from align_eval.tradeoffs import table_for, trade_offs


def runs(**numbers):
    """Three runs; a number is given as a list of three or as one for all."""
    found = []
    for i in range(3):
        run = {name: value[i] if isinstance(value, list) else value for name, value in numbers.items()}
        run.setdefault("stability", {"reward_mean_sd": 1.0, "kl_sd": None})
        for name in ("win_rate", "controller_actions", "peak_memory_bytes", "seconds_per_iteration",
                     "convergence_iteration", "trainable_parameters", "lines_of_code",
                     "reward_at_equal_samples"):  # fmt: skip
            run.setdefault(name, None)
        found.append(run)
    return found


def row(name, ppo, grpo):
    return next(one for one in trade_offs(ppo, grpo) if one["metric"] == name)


def test_lower_memory_is_ahead_and_agrees():
    found = row("Peak memory", runs(peak_memory_bytes=[5e9, 5.1e9, 4.9e9]), runs(peak_memory_bytes=[2e9, 2.1e9, 1.9e9]))
    assert (found["measured_ppo"], found["measured_grpo"]) == pytest.approx((5000.0, 2000.0))  # MB
    assert (found["verdict"], found["agrees"]) == ("grpo", "yes")
    assert found["p"] == pytest.approx(stats.ttest_ind([5, 5.1, 4.9], [2, 2.1, 1.9], equal_var=False).pvalue)


def test_higher_win_rate_is_ahead():
    found = row("Final win rate", runs(win_rate=[0.7, 0.71, 0.72]), runs(win_rate=[0.5, 0.51, 0.52]))
    assert found["verdict"] == "ppo"
    assert found["agrees"] == "open"  # nothing was expected


def test_overlapping_seeds_are_not_separated():
    found = row("Final win rate", runs(win_rate=[0.6, 0.7, 0.5]), runs(win_rate=[0.5, 0.62, 0.6]))
    assert found["verdict"] == "not separated"


def test_the_primary_difference_has_its_own_p():
    ppo, grpo = runs(win_rate=[0.7, 0.71, 0.72]), runs(win_rate=[0.5, 0.51, 0.52])
    for p, verdict in ((0.2, "not separated"), (0.01, "ppo")):
        found = {one["metric"]: one for one in table_for({"ppo": ppo, "grpo": grpo}, {"p": p})}
        assert (found["Final win rate"]["p"], found["Final win rate"]["verdict"]) == (p, verdict)
    many = runs(controller_actions=[1, 2, 3]), runs(controller_actions=[8, 9, 7])
    found = {one["metric"]: one for one in trade_offs(*many, 0.5)}
    assert found["Controller actions"]["p"] == pytest.approx(
        stats.ttest_ind([1, 2, 3], [8, 9, 7], equal_var=False).pvalue
    )


def test_without_spread_the_plain_difference_counts():
    found = row("Implementation complexity: size", runs(trainable_parameters=2e6), runs(trainable_parameters=1e6))
    assert (found["verdict"], found["p"], found["agrees"]) == ("grpo", None, "yes")
    same = row("Sample efficiency", runs(reward_at_equal_samples=1.5), runs(reward_at_equal_samples=1.5))
    assert (same["verdict"], same["agrees"]) == ("equal", "yes")
    more = row("Sample efficiency", runs(reward_at_equal_samples=1.5), runs(reward_at_equal_samples=1.4))
    assert (more["verdict"], more["agrees"]) == ("ppo", "no")


def test_variance_is_compared_by_the_f_test():
    # Variances 1 and 10 000 (points²): F = 1e-4 with (2, 2) degrees of freedom, P(F < f) = f/(1+f); twice that.
    found = row("Variance across runs", runs(win_rate=[0.59, 0.60, 0.61]), runs(win_rate=[-0.4, 0.6, 1.6]))
    assert (found["measured_ppo"], found["measured_grpo"]) == pytest.approx((1.0, 100.0))
    assert found["p"] == pytest.approx(2 * 1e-4 / (1 + 1e-4))
    assert (found["verdict"], found["agrees"]) == ("ppo", "yes")


def test_what_is_missing_is_not_measured():
    found = {one["metric"]: one for one in table_for({"ppo": runs()})}
    assert {one["verdict"] for one in found.values()} == {"not measured"}
    assert found["Hyperparameter sensitivity"]["measured_ppo"] is None
    single = row("Final win rate", runs(win_rate=0.6)[:1], runs(win_rate=0.5)[:1])
    assert single["verdict"] == "not separated"  # one seed each shows nothing
