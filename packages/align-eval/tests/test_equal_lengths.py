import json

import pytest

from align_contracts import console, open_artifact
from align_eval.cli import COMMANDS


def test_the_report_has_the_rates_of_summarize(compared, capsys):
    """Two ways to the same numbers: the report's runs, and their judgments summarized together (in percent)."""
    report = open_artifact(compared / "report").read_json("report")
    runs = report["runs"]
    capsys.readouterr()
    paths = [str(compared / f"judgments-{run['label']}") for run in runs]
    assert console.main("align-eval", "", COMMANDS, ["summarize", *paths, "--json"]) == 0
    for run, one in zip(runs, json.loads(capsys.readouterr().out), strict=True):
        assert run["preference_mean"] == pytest.approx((run["wins"] + run["ties"] / 2) / (run["n"] - run["invalid"]))
        assert one["win_rate"] == pytest.approx(100 * run["preference_mean"])
        rate, (low, high) = run["length_controlled_win_rate"], run["length_controlled_interval"]
        assert one["length_controlled_win_rate"] == pytest.approx(100 * rate)
        assert 0 <= low < rate < high <= 1
        assert one["longer_rate"] == pytest.approx(100 * run["longer_rate"])
        assert one["order"]["flip_interval"] == run["order_flip_interval"]
    rates = [run["length_controlled_win_rate"] for run in runs if run["method"] == "ppo"]
    assert report["methods"]["ppo"]["length_controlled_win_rate"]["value"] == pytest.approx(sum(rates) / len(rates))
