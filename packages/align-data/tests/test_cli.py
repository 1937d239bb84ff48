from __future__ import annotations

import sys
from pathlib import Path

import pytest

from align_contracts import console, open_artifact
from align_data import cli

SMALL = ["--validation", "2", "--calibration", "2", "--gold", "2", "--test", "3", "--quiet"]


def call(monkeypatch, *argv: str) -> int:
    monkeypatch.setattr(sys, "argv", ["align-data", *argv])
    return cli.main()


def test_build_from_a_directory(monkeypatch, tmp_path, write_dataset, raw_rows, capsys) -> None:
    directory = write_dataset(train_prefs=raw_rows(30))
    assert call(monkeypatch, "build", "--source", str(directory), "--out", str(tmp_path / "data"), *SMALL) == 0
    assert open_artifact(tmp_path / "data", kind="dataset").details.counts["prompts_test"] == 3
    assert capsys.readouterr() == ("", "")


def test_a_licence_that_nobody_stated_is_missed_where_it_can_be_named(
    monkeypatch, tmp_path, write_dataset, raw_rows, capsys
) -> None:
    directory = write_dataset(train_prefs=raw_rows(30))
    loud = [one for one in SMALL if one != "--quiet"]
    assert call(monkeypatch, "build", "--source", str(directory), "--out", str(tmp_path / "data"), *loud) == 0
    said = f"the licence of {directory.name} is not known; it is written as 'unknown'. Name it with --license"
    assert capsys.readouterr().err.startswith(f"warning: {said}\n")


def test_a_recipe_sets_the_sizes(tmp_path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nsource = "hf:a/b"\ngold = 7\n[sft]\nepochs = 1\n')
    argv = ["build", "--config", str(recipe), "--set", "validation=5", "--test", "9", "--out", "x"]
    _, config = console.resolve("align-data", cli.COMMANDS, argv)
    assert (config.source, config.gold, config.validation, config.test) == ("hf:a/b", 7, 5, 9)
    assert config.out == Path("x")


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["--test", "100"], 2, "multiple of 3"),
        (["--source", "nowhere/at/all"], 2, "no directory nowhere/at/all"),
        (["--sorce", "x"], 2, "--source"),
    ],
)
def test_mistakes_get_one_message_and_their_exit_code(monkeypatch, tmp_path, capsys, argv, code, words) -> None:
    assert call(monkeypatch, "build", "--out", str(tmp_path / "data"), *argv) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "data").exists()


def test_help_has_examples(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "build", "--help") == 0
    assert "hf:HuggingFaceH4/ultrafeedback_binarized" in capsys.readouterr().out
