import json

import pytest

from align_sft import cli


def test_help_lists_the_commands(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["align-sft", "--help"])
    assert cli.main() == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("base", "train", "eval", "merge", "export", "import"))


@pytest.mark.parametrize("name", ["base", "train", "eval", "merge", "export", "import"])
def test_every_command_has_help(capsys, monkeypatch, name):
    monkeypatch.setattr("sys.argv", ["align-sft", name, "--help"])
    assert cli.main() == 0
    assert "Examples" in capsys.readouterr().out


def test_eval_from_the_command_line(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["align-sft", "eval", "--policy", str(store / "sft"), "--json", "--quiet"])
    assert cli.main() == 0
    assert json.loads(capsys.readouterr().out)["format"] == "chosen"


def test_mistakes_are_one_line(store, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["align-sft", "train", "--base", str(store / "data"), "--data", "x", "--out", "y"])
    assert cli.main() == 3
    assert "error: " in capsys.readouterr().err
