import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

import console_example as example
from align_contracts import console, open_artifact
from align_contracts.console import app
from align_contracts.errors import ConfigError, InterruptedRun


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    example.SEEN.clear()
    monkeypatch.delenv("ALIGN_TRACEBACK", raising=False)


def start(*argv: str) -> int:
    return console.main("align-contracts", "A program.", example.COMMANDS, argv)


def config(*argv: str) -> BaseModel:
    return console.resolve("align-contracts", example.COMMANDS, ["train", "--sft", "x", *argv])[1]


def test_a_command_runs_with_its_config():
    assert start("train", "--sft", "artifacts/sft", "--num_iterations", "3") == 0
    assert example.SEEN[0].sft == Path("artifacts/sft")
    assert example.SEEN[0].num_iterations == 3


def test_the_exit_code_of_run_is_returned():
    assert start("seven") == 7


def test_an_align_error_is_one_line_and_its_exit_code(capsys):
    assert start("diverge") == 4
    assert capsys.readouterr().err == (
        "error: the loss is not finite: expected a number, got nan. Lower the learning rate\n"
    )


def test_traceback_on_request(monkeypatch, capsys):
    monkeypatch.setenv("ALIGN_TRACEBACK", "1")
    assert start("diverge") == 4
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert "DivergedError: the loss is not finite" in said


def test_a_signal_is_one_line_and_its_exit_code(capsys):
    assert start("interrupt") == 143
    assert capsys.readouterr().err == "error: stopped by SIGTERM. Run the same command again\n"


def test_priority_default_recipe_set_flag(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[rl]\nK = 3\nnum_iterations = 10\nbits = 8\n[ppo]\nnum_iterations = 20\nlabel = 'p'\n")
    got = config("--config", str(recipe), "--set", "bits=0", "--set", "label=s", "--label", "f")
    # K from [rl]; num_iterations from [ppo], the later section; bits from --set; label from the flag
    assert (got.K, got.num_iterations, got.bits, got.label) == (3, 20, 0, "f")
    assert got.learning_rate == 5e-6


def test_every_wrong_setting_gets_a_line_that_names_where_it_came_from(tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[rl]\nlearning_rate = -1\n")
    assert start("train", "--config", str(recipe), "--set", "bits=5", "--K", "x") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: align-contracts train: 4 settings are wrong\n")
    assert "--sft is required" in err
    assert "--K: expected a whole number, got 'x'" in err
    assert "got 'x'\n" in err
    assert f"--learning-rate: expected greater than 0, got -1 ({recipe} [rl])" in err
    assert "--bits: expected 0, 4 or 8, got 5 (--set bits=5)" in err


def test_a_validator_s_own_message_is_shown_as_it_is(capsys):
    assert start("train", "--sft", "x", "--K", "101") == 2
    assert capsys.readouterr().err == ("error: align-contracts train: K is too large: expected at most 100, got 101\n")


def test_unknown_command_and_version(capsys):
    assert start("trian") == 2
    assert capsys.readouterr().err == ("error: align-contracts: unknown command 'trian'. Did you mean train?\n")
    assert start("--version") == 0
    assert start("train", "--version") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("align-contracts ")


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"git_commit": None, "git_dirty": None}, "align-contracts 0.9"),
        ({"git_commit": "0123456789abcdef", "git_dirty": False}, "align-contracts 0.9 (0123456789ab)"),
        ({"git_commit": "0123456789abcdef", "git_dirty": True}, "align-contracts 0.9 (0123456789ab, modified)"),
    ],
)
def test_a_checkout_tells_its_commit(capsys, monkeypatch, facts, told):
    monkeypatch.setattr(app, "producer", lambda name: {"version": "0.9", **facts})
    assert start("--version") == 0
    assert capsys.readouterr().out == f"{told}\n"


def test_no_command_shows_the_commands_and_fails(capsys):
    assert start() == 2
    assert "  train " in capsys.readouterr().out


def test_show_config_prints_json_and_runs_nothing(capsys):
    assert start("train", "--sft", "x", "--K", "4", "--show-config") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["K"], shown["sft"], shown["lora"]) == (4, "x", {"rank": 8})
    assert example.SEEN == []


def test_what_is_not_finite_is_not_shown(capsys):
    assert start("train", "--sft", "x", "--set", "weights={a = nan}", "--show-config") == 2
    assert capsys.readouterr().err == "error: value.weights.a: expected a finite number, got nan\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "/x"), "error: /x: Permission denied\n"),
        (OSError("the drive said \x1b[31mno"), "error: the drive said \\x1b[31mno\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, error, message):
    def run(config):
        raise error

    monkeypatch.setattr(example, "run", run)
    assert start("train", "--sft", "x") == 6
    assert capsys.readouterr().err == message
    monkeypatch.setenv("ALIGN_TRACEBACK", "1")
    assert start("train", "--sft", "x") == 6
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


def test_keys_are_neither_taken_as_settings_nor_shown(monkeypatch, capsys, tmp_path):
    """A key in a value, an unexpected argument, a recipe, an error message and a traceback of ours."""
    canary = "canary-0123456789-7d41f0"
    monkeypatch.setenv("OPENAI_API_KEY", canary)
    recipe = tmp_path / "r.toml"
    recipe.write_text(f'[rl]\nlabel = "{canary}"\n')
    for arguments in (
        ["--sft", canary],
        ["--set", f"label={canary}"],
        ["--config", str(recipe)],
        ["--sft", f"x/{canary}"],
    ):
        assert start("train", *arguments) == 2
        assert "holds a key, which would be recorded" in capsys.readouterr().err
    for arguments in ([canary], ["--sft", "x", "--K", canary], [f"--{canary}", "x"], ["--set", canary]):
        assert start("train", *arguments) == 2
        assert "error: " in (said := capsys.readouterr().err)
        assert canary not in said

    def run(config):
        raise RuntimeError(f"Authorization: Bearer {canary}")

    monkeypatch.setattr(example, "run", run)
    assert start("train", "--sft", "x") == 1
    assert capsys.readouterr().err.endswith("RuntimeError: Authorization: Bearer ***\n")


def test_resolve_needs_a_known_command():
    with pytest.raises(ConfigError, match="needs a command"):
        console.resolve("p", example.COMMANDS, [])
    with pytest.raises(ConfigError, match="unknown flag --traim"):
        console.resolve("p", example.COMMANDS, ["--traim"])


def test_commands_without_name_or_descriptions_are_refused():
    class Bare(BaseModel):
        rank: int = 1

    with pytest.raises(ValueError, match="needs a name"):
        console.Command("", "x", example.Lora, "m:f")
    with pytest.raises(ValueError, match="without a description: rank"):
        console.Command("x", "x", Bare, "m:f")


@pytest.mark.parametrize(("manager", "begins"), [("uv", "uv run x go"), ("", "x go")])
@pytest.mark.parametrize("given", [[], ["--label", "never"], ["--label=never"]])
def test_a_run_that_can_go_on_says_the_very_command(monkeypatch, capsys, manager, begins, given):
    """Without what it replaces of the command that was given."""

    def stop(config):
        raise InterruptedRun("stopped after 3 of 7 steps", do="Run it again", again=("--label", "auto"))

    monkeypatch.setenv("UV", manager)
    monkeypatch.setattr(app.shutil, "which", lambda name: f"bin/{name}")
    monkeypatch.setitem(sys.modules, "stopping", SimpleNamespace(run=stop))
    code = console.main(
        "x", "", [console.Command("go", "Go.", example.Train, "stopping:run")], ["go", *given, "--sft", "a b"]
    )
    assert code == 130
    assert capsys.readouterr().err == (
        f"error: stopped after 3 of 7 steps. Run it again:\n  {begins} --sft 'a b' --label auto\n"
    )


@pytest.mark.parametrize("place", ["--sft", "--actor-model"])
def test_what_is_wrong_with_an_artifact_begins_with_its_flag(monkeypatch, capsys, tmp_path, place):
    monkeypatch.setitem(sys.modules, "opening", SimpleNamespace(run=lambda config: open_artifact(config.sft)))
    command = console.Command("go", "Go.", example.Train, "opening:run")
    assert console.main("x", "", [command], ["go", place, str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: --sft {tmp_path / 'none'}: no such artifact\n"
