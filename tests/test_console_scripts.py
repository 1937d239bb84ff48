"""Every console script as a user meets it: help, version, mistakes."""

import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from align_contracts import console
from align_contracts.console import Command
from align_contracts.console.fields import flags_of

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    name: target
    for path in sorted(ROOT.glob("**/pyproject.toml"))
    if ".venv" not in path.parts and ".nox" not in path.parts
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}
MODULES = {name: importlib.import_module(f"{target.partition(':')[2]}.cli") for name, target in SCRIPTS.items()}
COMMANDS: list[tuple[str, Command]] = [(name, one) for name, module in MODULES.items() for one in module.COMMANDS]
each_command = pytest.mark.parametrize(
    ("script", "command"), COMMANDS, ids=[f"{script} {one.name}" for script, one in COMMANDS]
)
each_script = pytest.mark.parametrize("script", list(SCRIPTS))


def call(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = Path(sys.executable).parent / script
    env = {**os.environ, "COLUMNS": "80"}
    return subprocess.run([path, *arguments], capture_output=True, text=True, env=env, check=False, timeout=60)


def test_the_study_s_scripts_are_there():
    assert set(SCRIPTS) == {"align-contracts", "align-data", "align-sft", "align-rm", "align-rl", "align-eval"}


def test_ctrl_c_while_modules_are_read_is_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\ndef main(): return 0\n")
    command = [sys.executable, "-c", "import align_start; align_start.begin('slow')"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert all(target.startswith("align_start:") for target in SCRIPTS.values())


@each_script
def test_the_installed_script_helps_and_tells_its_version(script):
    helped = call(script, "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert all(f"  {one.name}" in helped.stdout for one in MODULES[script].COMMANDS)
    assert call(script, "--version").stdout.split()[0] == script


@each_script
def test_an_unknown_flag_is_one_line_with_a_suggestion_and_exit_code_2(script):
    command = MODULES[script].COMMANDS[0]
    flag = next(one.names[0] for one in flags_of(command.config) if not one.positional)
    answer = call(script, command.name, f"{flag}x", "1")
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == f"error: {script} {command.name}: unknown flag {flag}x. Did you mean {flag}?\n"


@each_command
def test_help_describes_every_flag_and_gives_an_example(script, command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert MODULES[script].main.__doc__
    assert console.main(script, "", MODULES[script].COMMANDS, [command.name, "--help"]) == 0
    page = capsys.readouterr().out
    for flag in flags_of(command.config):
        if flag.kind != "table":
            assert flag.names[0].removeprefix("--") in page
    assert command.examples
    assert all(f"{example} ".startswith(f"{script} {command.name} ") for example in command.examples)


@each_command
def test_the_examples_are_valid(script, command):
    for example in command.examples:
        words = [word.replace("recipes/", f"{ROOT}/recipes/") for word in example.split()[1:]]
        picked, _ = console.resolve(script, MODULES[script].COMMANDS, words)
        assert picked is command


@each_command
def test_what_runs_exists_and_takes_a_config(script, command):
    module, _, function = command.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(("script", "command"), [(script, one) for script, one in COMMANDS if one.sections])
def test_a_typo_in_the_recipe_is_suggested(script, command, tmp_path, capsys):
    flag = next(one for one in flags_of(command.config) if len(one.path) == 1 and len(one.path[0]) > 3)
    recipe = tmp_path / "r.toml"
    recipe.write_text(f"[{command.sections[-1]}]\n{flag.key}x = 1\n")
    assert console.main(script, "", MODULES[script].COMMANDS, [command.name, "--config", str(recipe)]) == 2
    assert f"unknown key '{flag.key}x' in [{command.sections[-1]}]. Did you mean {flag.key}?" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_for_the_whole_chain(recipe, tmp_path):
    from pipeline.plan import plan

    asked = re.findall(r"--set ([\w.]+)=DIR", recipe.read_text())  # what only the user knows, as the recipe says
    settings, steps = plan(recipe, tmp_path, [f"{key}={tmp_path}" for key in asked])
    assert settings.seeds
    assert steps[-1].step.name == "report"
