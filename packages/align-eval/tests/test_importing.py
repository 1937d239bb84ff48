import csv
import hashlib
import json
from pathlib import Path

import pytest
from annotations import row, rows, write
from scipy import stats

from align_contracts import console, open_artifact
from align_eval.cli import COMMANDS

ALPACA = Path(__file__).parents[4] / "shared" / "data" / "alpaca-eval"


def main(*argv):
    return console.main("align-eval", "", COMMANDS, [str(one) for one in argv])


def test_import_publishes_graded_judgments(tmp_path, capsys):
    file = write(tmp_path / "annotations.json.gz", rows(), packed=True)
    assert main("import", "alpaca-eval", file, "--out", tmp_path / "mine") == 0
    assert capsys.readouterr().out == ("mine against base, judge a judge: 2 wins, 2 losses, 1 ties, 1 invalid of 6\n")
    found = open_artifact(tmp_path / "mine", "judgments", deep=True)
    details = found.details
    assert (details.wins, details.losses, details.ties, details.invalid, details.prompts) == (2, 2, 1, 1, 6)
    assert (details.source, details.graded, details.swapped) == ("alpaca-eval", True, False)
    assert details.source_digest == hashlib.sha256(json.dumps(rows()).encode()).hexdigest()
    verdicts = found.read_jsonl("verdicts")
    assert [one["preference"] for one in verdicts] == [0.0, 1.0, 0.5, 0.25, 0.75, None]
    assert [one["outcome"] for one in verdicts] == ["loss", "win", "tie", "loss", "win", "invalid"]
    assert found.metric("mean_preference") == 0.5
    assert found.metric("win_rate") == pytest.approx(2 / 6)
    assert found.metric("win_rate_decided") == 0.5


def test_equal_files_give_equal_content_wherever_they_lie(tmp_path):
    for name in ("one", "two"):
        file = write(tmp_path / f"{name}.json", rows(), packed=name == "two")
        assert main("import", "alpaca-eval", file, "--out", tmp_path / name, "--quiet") == 0
    assert open_artifact(tmp_path / "one").content_digest == open_artifact(tmp_path / "two").content_digest


def test_a_broken_row_publishes_nothing(tmp_path, capsys):
    file = write(tmp_path / "a.json", [row(0, 1), row(1, 7)])
    assert main("import", "alpaca-eval", file, "--out", tmp_path / "mine") == 3
    said = capsys.readouterr().err
    assert said == (
        "error: a.json: row 2 of 2: preference: expected a number in [1, 2], 0 for a draw, or null, got 7\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json"]
    assert main("import", "alpaca-eval", tmp_path / "none.json", "--out", tmp_path / "mine") == 2
    assert main("import", "arena", file, "--out", tmp_path / "mine") == 2
    assert main("import", "alpaca-eval", "--out", tmp_path / "mine") == 2


def test_an_artifact_is_replaced_only_when_asked(tmp_path):
    file = write(tmp_path / "a.json", rows())
    arguments = ("import", "alpaca-eval", file, "--out", tmp_path / "mine", "--quiet")
    assert main(*arguments) == 0
    assert main(*arguments) == 6
    assert main(*arguments, "--overwrite") == 0


def test_repeats_are_told(tmp_path, capsys):
    file = write(tmp_path / "a.json", [row(0, 1), row(0, 2)])
    assert main("import", "alpaca-eval", file, "--out", tmp_path / "mine") == 0
    assert "Care: 1 rows repeat the instruction of an earlier row" in capsys.readouterr().out


def test_imported_verdicts_cannot_be_compared(tmp_path, capsys):
    file = write(tmp_path / "a.json", rows())
    assert main("import", "alpaca-eval", file, "--out", tmp_path / "mine", "--quiet") == 0
    assert main("compare", "--judgments", tmp_path / "mine", "--out", tmp_path / "report") == 2
    assert "mine: imported verdicts come without the policies" in capsys.readouterr().err


def published():
    """The leaderboard's row of each file."""
    if not ALPACA.is_dir():
        pytest.skip("needs shared/data/alpaca-eval beside the checkout")
    with open(ALPACA / "leaderboard.csv", newline="") as file:
        return {one["model"]: {name: one[name] for name in one} for one in csv.DictReader(file)}


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """The eleven files as artifacts, by model."""
    root = tmp_path_factory.mktemp("alpaca-eval")
    for model in published():
        file = ALPACA / f"{model}.annotations.json.gz"
        assert main("import", "alpaca-eval", file, "--out", root / model, "--quiet") == 0
    return root


def summarized(capsys, *paths):
    capsys.readouterr()
    assert main("summarize", *paths, "--json") == 0
    return json.loads(capsys.readouterr().out)


COLUMNS = {
    "win_rate": "win_rate",
    "standard_error": "standard_error",
    "wins": "n_wins",
    "losses": "n_wins_base",
    "ties": "n_draws",
    "n": "n_total",
}


@pytest.mark.shared
def test_the_published_rows(imported, capsys):
    for model, wanted in published().items():
        found = summarized(capsys, imported / model)
        for name, column in COLUMNS.items():
            assert found[name] == pytest.approx(float(wanted[column]), abs=1e-6), (model, name)


FAMILIES = (
    ("gpt-3.5-turbo-1106_concise", "gpt-3.5-turbo-1106_verbose"),
    ("claude-2.1_concise", "claude-2.1"),
    ("alpaca-7b_concise", "alpaca-7b_verbose"),
)


@pytest.mark.shared
@pytest.mark.parametrize("together", [True, False])
def test_the_published_length_controlled_rates(imported, capsys, together):
    table = published()
    paths = [imported / model for model in table]
    found = summarized(capsys, *paths) if together else [summarized(capsys, path) for path in paths]
    ours = {one["name"]: one["length_controlled_win_rate"] for one in found}
    theirs = [float(one["length_controlled_winrate"]) for one in table.values()]
    assert stats.spearmanr([ours[model] for model in table], theirs).statistic >= 0.95
    if together:  # with the instructions' difficulty the rates themselves are near: 2.5 points at most
        assert all(abs(ours[model] - theirs[i]) < 2.5 for i, model in enumerate(table))
    for concise, verbose in FAMILIES:  # saying more pays less: the ratio of the two is nearer to 1 than the raw one
        raw = float(table[verbose]["win_rate"]) / float(table[concise]["win_rate"])
        assert 1.0 < ours[verbose] / ours[concise] < raw
