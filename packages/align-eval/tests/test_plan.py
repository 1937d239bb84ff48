import json

import numpy as np
import pytest

from align_contracts import console, open_artifact
from align_eval.algorithms.difference_power import Design, outcome_variances, power_of_difference
from align_eval.cli import COMMANDS
from align_eval.config import PlanConfig
from align_eval.plan import plan


def main(*argv):
    return console.main("align-eval", "", COMMANDS, ["plan", *argv])


def as_json(capsys, *argv):
    assert main(*argv, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_from_assumptions(capsys):
    found = as_json(capsys, "--effect", "0.1", "--seeds", "5", "--prompts", "100", "--seed-sd", "0.02,0.05")
    assert (found["seeds"], found["prompts"], found["source"]) == ([5, 5], 100, "assumed")
    assert [row["seed_sd"] for row in found["rows"]] == pytest.approx([0.02, 0.05])
    # w = 0.5: a run's win rate varies by 0.02² + (0.25 − 0.02²)/100.
    row = found["rows"][0]
    assert row["run_sd"] == pytest.approx(np.sqrt(0.0004 + 0.2496 / 100))
    assert row["cohens_d"] == pytest.approx(0.1 / row["run_sd"])
    expected = power_of_difference(0.1, Design((5, 5), 100), outcome_variances(0.5, (0.02, 0.02)))
    assert row["power"] == pytest.approx(expected)


def test_ties_and_decided_wins_make_the_win_rate(capsys):
    # 0.8 of decided pairs won and 25 % ties: w = 0.6, so without true spread a run varies by 0.24/300.
    found = as_json(capsys, "--tie-rate", "0.25", "--win-rate-decided", "0.8", "--seed-sd", "0")
    assert found["rows"][0]["run_sd"] == pytest.approx(np.sqrt(0.24 / 300))


def test_an_effect_in_standard_deviations(capsys):
    (row,) = as_json(capsys, "--cohens-d", "2", "--seed-sd", "0.03")["rows"]
    assert row["difference"] == pytest.approx(2 * row["run_sd"])


def test_the_table_without_any_setting(capsys):
    assert main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 + 3 seeds, 300 prompts")
    assert [line.split()[0] for line in said[2:6]] == ["0", "2", "5", "10"]
    assert "never" in said[4]
    assert said[-1].startswith("never: not with")


def test_a_design_that_finds_nothing_says_so(capsys):
    (row,) = as_json(capsys, "--seeds", "2", "--prompts", "2", "--seed-sd", "0")["rows"]
    assert row["detectable_difference"] is None
    assert main("--seeds", "2", "--prompts", "2", "--seed-sd", "0") == 0
    assert "nothing" in capsys.readouterr().out.splitlines()[2]


def test_the_spread_of_a_report(compared, capsys):
    report = open_artifact(compared / "report").read_json("report")["design"]
    found = as_json(capsys, "--report", str(compared / "report"))
    (row,) = found["rows"]
    assert (found["seeds"], found["prompts"], found["source"]) == ([3, 3], 60, "measured")
    assert row["detectable_difference"] == pytest.approx(report["detectable_difference"])
    larger = as_json(capsys, "--report", str(compared / "report"), "--seeds", "10", "--prompts", "1000")
    assert (larger["seeds"], larger["prompts"]) == ([10, 10], 1000)
    assert larger["rows"][0]["detectable_difference"] < row["detectable_difference"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--effect", "0.1", "--cohens-d", "1"], "not both"),
        (["--report", "x", "--seed-sd", "0.1"], "got --seed-sd too"),
        (["--seeds", "1"], "--seeds"),
        (["--effect", "5"], "--effect: expected a share below 1 (5 points are 0.05)"),
        (["--seed-sd", "nan"], "--seed-sd"),
        (["--seed-sd", "-0.1"], "--seed-sd"),
        (["--seed-sd", "0.45", "--tie-rate", "0.5"], "no judge gives outcomes"),
        (["--prompt-share", "0.6", "--method-share", "0.4"], "no judge gives outcomes"),
        (["--cohens-d", "40"], "a difference of"),
        (["--power", "0.05"], "power above the level"),
        (["--report", "nowhere"], "nowhere"),
    ],
)
def test_one_clear_message(argv, message, capsys):
    assert main(*argv) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error:")


def test_a_report_without_spread_is_refused(compared, capsys):
    assert main("--report", str(compared / "sft")) == 3
    assert "expected" in capsys.readouterr().err


def test_defaults_are_the_studys_design():
    found = plan(PlanConfig())
    assert (found["seeds"], found["prompts"], found["power"], found["alpha"]) == ([3, 3], 300, 0.8, 0.05)
    assert {row["difference"] for row in found["rows"]} == {0.05}
