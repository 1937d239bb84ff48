import re

import numpy as np
import pytest
from scipy import stats

from align_eval.design import measured_design
from align_eval.estimates import estimates, table
from align_eval.study import Run, Study

OUTCOMES = ["win", "win", "tie", "loss"]


def run(method, seed, outcomes):
    verdicts = [{"prompt_id": str(i), "category": "ab"[i % 2], "outcome": o} for i, o in enumerate(outcomes)]
    return Run(method, seed, None, None, None, verdicts, [])


def study(*runs):
    return Study(tuple(runs), (), None, [], None, None, None)


def drawn(rng, chances=(0.6, 0.5), prompts=80, seeds=(1, 2, 3)):
    """Two methods that win, tie or lose at random."""
    runs = []
    for method, chance in zip(("ppo", "grpo"), chances, strict=True):
        for seed in seeds:
            shares = [chance, 0.1, 0.9 - chance]
            runs.append(run(method, seed, rng.choice(["win", "tie", "loss"], size=prompts, p=shares)))
    return study(*runs)


def test_scores():
    runs = [run("ppo", 1, OUTCOMES), run("ppo", 2, ["invalid", "loss", "win", "tie"])]
    assert table(runs, "win_rate").tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    assert table(runs, "preference").tolist() == [[1, 1, 0.5, 0], [0.5, 0, 1, 0.5]]


def test_numbers_of_both_methods_and_their_difference():
    one = drawn(np.random.default_rng(1))
    found = estimates(one, 0.05)
    assert found["reason"] is None
    assert (found["seeds"], found["prompts"], found["categories"]) == ({"ppo": 3, "grpo": 3}, 80, 2)
    wins = {m: table(one.of(m), "win_rate").mean(1) for m in ("ppo", "grpo")}
    for method, seeds in wins.items():
        mine = found["win_rate"]["methods"][method]
        expected = stats.ttest_1samp(seeds, 0.5).confidence_interval(0.95)
        assert mine["value"] == pytest.approx(seeds.mean())
        assert mine["same_prompts"]["interval"] == pytest.approx([max(0, expected.low), min(1, expected.high)])
        assert mine["se"] ** 2 == pytest.approx(mine["seed_variance"] + mine["prompt_variance"])
        assert mine["interval"][0] <= mine["value"] <= mine["interval"][1]
    difference = found["win_rate"]["difference"]
    welch = stats.ttest_ind(wins["ppo"], wins["grpo"], equal_var=False)
    assert (difference["first"], difference["second"]) == ("ppo", "grpo")
    assert difference["value"] == pytest.approx(wins["ppo"].mean() - wins["grpo"].mean())
    assert difference["same_prompts"]["p"] == pytest.approx(welch.pvalue)
    assert difference["same_prompts"]["df"] == pytest.approx(welch.df)
    scores = {m: table(one.of(m), "preference") for m in ("ppo", "grpo")}
    against_half = stats.ttest_1samp(scores["ppo"].mean(1), 0.5).pvalue
    assert found["preference"]["methods"]["ppo"]["same_prompts"]["p"] == pytest.approx(against_half)
    assert found["win_rate"]["methods"]["ppo"]["p"] is None  # no win rate of all pairs means "as good as SFT"
    paired = scores["ppo"].mean(0) - scores["grpo"].mean(0)
    assert found["by_prompt"]["value"] == pytest.approx(paired.mean())
    assert found["by_prompt"]["better"] == (paired > 1e-9).sum()
    ahead = np.sign(scores["ppo"][:, None] - scores["grpo"][None]) / 2 + 0.5
    assert found["improvement"]["value"] == pytest.approx(ahead.mean())
    low, high = found["improvement"]["bootstrap"]
    assert low < ahead.mean() < high
    assert found["equivalence"]["margin"] == 0.05
    assert found["equivalence"]["interval_90"][0] > difference["interval"][0]


def test_equal_studies_give_equal_numbers_and_pairing_of_seeds_is_seen():
    one, again = (estimates(drawn(np.random.default_rng(2)), 0.05) for _ in range(2))
    assert one == again
    assert one["seeds_paired"]
    other = study(
        *drawn(np.random.default_rng(2)).of("ppo"), run("grpo", 8, ["win"] * 80), run("grpo", 9, ["tie"] * 80)
    )
    assert not estimates(other, 0.05)["seeds_paired"]


def test_a_method_that_wins_everything_has_no_interval():
    runs = [run("ppo", seed, ["win"] * 10) for seed in (1, 2)] + [
        run("grpo", seed, OUTCOMES[:2] * 5) for seed in (1, 2)
    ]
    found = estimates(study(*runs), 0.05)
    mine = found["win_rate"]["methods"]["ppo"]
    assert (mine["value"], mine["se"], mine["interval"], mine["p"]) == (1.0, 0.0, None, None)
    assert mine["same_prompts"] == {"se": 0.0, "interval": None, "p": None, "df": None}
    assert mine["bootstrap"] == pytest.approx([1.0, 1.0])
    assert found["win_rate"]["difference"]["p"] is None
    assert measured_design(study(*runs)) is None


def test_an_interval_ends_where_rates_do():
    runs = [run("ppo", 1, ["win"] * 20), run("ppo", 2, ["win"] * 19 + ["loss"])]
    found = estimates(study(*runs), 0.05)["win_rate"]
    assert found["methods"]["ppo"]["interval"][1] == 1.0
    assert found["difference"] is None


@pytest.mark.parametrize(
    ("runs", "reason"),
    [
        (
            [run("ppo", 1, OUTCOMES), run("ppo", 2, OUTCOMES), run("grpo", 1, OUTCOMES)],
            "two seeds or more of each method",
        ),
        ([run("ppo", 1, OUTCOMES), run("ppo", 2, OUTCOMES[:3])], "same prompts"),
        ([run("ppo", 1, ["win"]), run("ppo", 2, ["loss"])], "two prompts"),
    ],
)
def test_what_cannot_be_estimated_says_why(runs, reason):
    found = estimates(study(*runs), 0.05)
    assert found["win_rate"] is found["equivalence"] is None
    assert re.search(reason, found["reason"])
    assert measured_design(study(*runs)) is None


def test_the_measured_design():
    one = drawn(np.random.default_rng(3))
    found = measured_design(one)
    wins = {m: table(one.of(m), "win_rate").mean(1) for m in ("ppo", "grpo")}
    pooled = (wins["ppo"].var(ddof=1) + wins["grpo"].var(ddof=1)) / 2
    assert found["run_sd"] == pytest.approx(np.sqrt(pooled))
    # The χ² interval of a standard deviation with 4 degrees of freedom.
    low, high = (np.sqrt(pooled * 4 / stats.chi2.ppf(tail, 4)) for tail in (0.975, 0.025))
    assert found["run_sd_interval"] == pytest.approx([low, high])
    assert found["detectable_range"][0] <= found["detectable_difference"] <= found["detectable_range"][1]
    assert [row["difference"] for row in found["rows"]] == [0.02, 0.05, 0.1]
    assert f"{100 * found['detectable_difference']:.1f} points" in found["text"]
