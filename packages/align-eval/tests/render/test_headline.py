"""The sentence that people quote: right in every case that can happen."""

import pytest

from align_eval.render.sections.headline import answer, caveat, findings, tiles
from align_eval.render.sources import Sources
from align_eval.render.text import fixed


def _with(report, *, equivalent=False, **difference):
    """The report with another difference of win rates."""
    estimates = report["estimates"]
    rates = {**estimates["win_rate"], "difference": {**estimates["win_rate"]["difference"], **difference}}
    equality = {**estimates["equivalence"], "equivalent": equivalent, "margin": 0.05, "interval_90": [-0.043, 0.038]}
    return {**report, "estimates": {**estimates, "win_rate": rates, "equivalence": equality}}


def _said(report, **how):
    changed = _with(report, **how)
    return answer(changed, Sources(changed)).text, caveat(changed, Sources(changed)).text


def test_a_separated_difference_names_the_winner(report):
    text, care = _said(report, value=-0.052, interval=[-0.09, -0.014], p=0.02)
    assert text.startswith("GRPO wins against PPO: ")
    # The interval turns with the difference: GRPO is ahead by 1.4 to 9.0 points.
    assert "5.2 points apart over 3 + 3 seeds (95 % interval 1.4 to 9.0)" in text
    assert "tends to look larger than it is" in care
    text, _ = _said(report, value=0.052, interval=[0.014, 0.09], p=0.02)
    assert text.startswith("PPO wins against GRPO: ")


def test_a_difference_within_chance_has_no_winner(report):
    text, care = _said(report, value=-0.002, interval=[-0.055, 0.05], p=0.91)
    assert text.startswith("Neither method wins: ")
    assert "a difference of −0.2 points that 3 + 3 seeds cannot tell from chance (95 % interval −5.5 to 5.0)" in text
    assert "does not show that there is none" in care
    assert "up to 5.5 points" in care


def test_equality_is_said_only_where_it_is_shown(report):
    text, care = _said(report, value=-0.002, interval=[-0.055, 0.05], p=0.91, equivalent=True)
    assert text.startswith("Equally good within 5.0 points: ")
    assert "(90 % interval −4.3 to 3.8)" in text
    # The farther end of the 90 % interval, −4.3, is the smallest margin at which the two tests reject.
    assert "within 5.0 points either way, the margin chosen beforehand" in care
    assert "would show it within 4.3 points" in care
    # A difference that is both found and too small to matter is still a difference.
    text, _ = _said(report, value=0.02, interval=[0.01, 0.03], p=0.01, equivalent=True)
    assert text.startswith("PPO wins against GRPO: ")


def test_without_spread_it_is_undecided(report):
    text, _ = _said(report, interval=None, p=None)
    assert text.startswith("Undecided: ")


def test_one_method_and_a_null_control(report, sparse):
    assert answer(sparse, Sources(sparse)).text.startswith("PPO won ")
    assert "Only one method" in caveat(sparse, Sources(sparse)).text
    null = {**report, "runs": [{**run, "control": "null"} for run in report["runs"]]}
    assert answer(null, Sources(null)).text.startswith("A null control: ")


def test_findings_state_the_numbers(report):
    text = " ".join(one.text for one in findings(report, Sources(report)))
    assert f"{100 * report['pooled']['all']['win_rate_decided']:.1f} %" in text
    assert fixed(report["effect"]["cohens_d"]) in text
    assert "A/A row" in text


def test_one_seed_is_no_plural(report, sparse):
    assert not any("Over 1 seed" in one.text or "±" in one.text for one in findings(sparse, Sources(sparse)))
    assert tiles(sparse, Sources(sparse))[0].below == "of all pairs won against SFT, 1 seed"
    uneven = {**report, "methods": {"ppo": sparse["methods"]["ppo"], "grpo": report["methods"]["grpo"]}}
    assert findings(uneven, Sources(uneven))[1].text.startswith("Over 1 and 3 seeds, ")


@pytest.mark.parametrize("place", [0, 1])
def test_tiles_and_effect_speak_of_the_same_pairs(report, place):
    """The win rates, the difference and Cohen's d are all of all pairs."""
    name = list(report["methods"])[place]
    found = tiles(report, Sources(report))
    assert found[place].value.startswith(fixed(100 * report["methods"][name]["win_rate"]["value"], 1))
    gap = report["methods"]["ppo"]["win_rate"]["value"] - report["methods"]["grpo"]["win_rate"]["value"]
    assert found[2].value == f"{fixed(100 * gap, 1)} points"
    assert report["effect"]["metric"] == "win_rate"


def test_a_method_beats_sft_only_by_its_own_interval(report):
    rows = {"ppo": {"value": 0.7, "interval": [0.6, 0.8]}, "grpo": {"value": 0.6, "interval": [0.4, 0.8]}}
    estimates = {**report["estimates"], "preference": {"methods": rows}}
    said = [one.text for one in findings({**report, "estimates": estimates}, Sources(report))]
    assert (
        "For other seeds and other prompts PPO beats SFT, preferred in 70.0 % [60.0, 80.0] of pairs and GRPO is not "
        "separated from SFT, preferred in 60.0 % [40.0, 80.0] of pairs (ties counted half)."
    ) in said
    rows["grpo"] = {"value": 0.3, "interval": [0.2, 0.4]}
    said = " ".join(one.text for one in findings({**report, "estimates": estimates}, Sources(report)))
    assert "GRPO loses to SFT" in said
