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
from align_contracts.console.arguments import common
from align_contracts.console.fields import flags_of
from align_contracts.console.foreign import FOREIGN
from align_contracts.console.help import LAST
from align_contracts.console.suggest import plain

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


COMMON = ("--config", "--set", "--show-config", "--version", "--help")
READS_ONLY = "it only reads, and what it prints is its result"
WITHOUT = {
    ("align-sft eval", "--dry-run"): READS_ONLY,
    ("align-rm eval", "--dry-run"): READS_ONLY,
    ("align-rm eval", "--quiet"): READS_ONLY,
    ("align-rl watch", "--dry-run"): READS_ONLY,
    ("align-eval summarize", "--dry-run"): READS_ONLY,
    ("align-eval summarize", "--quiet"): READS_ONLY,
    ("align-eval plan", "--dry-run"): READS_ONLY,
    ("align-eval plan", "--quiet"): READS_ONLY,
    **{(f"align-contracts {name}", "--dry-run"): READS_ONLY for name in ("validate", "inspect", "lineage", "env")},
    **{(f"align-contracts {name}", "--quiet"): READS_ONLY for name in ("validate", "inspect", "lineage", "env")},
    ("align-contracts recipes", "--dry-run"): "without --out it lists what it would write",
    ("align-contracts recipes", "--quiet"): "it prints the recipes' names and nothing else",
    ("align-contracts recipes", "--json"): "its lines are names and nothing else",
    ("align-contracts schema", "--dry-run"): "--check compares and writes nothing",
    ("align-contracts schema", "--quiet"): "it prints a schema, or the names of what it wrote",
    ("align-contracts schema", "--json"): "a schema is JSON",
}
"""What a command cannot be given, and why."""


@pytest.mark.parametrize("flag", [*COMMON, "--dry-run", "--json", "--quiet"])
@each_command
def test_every_command_has_the_flags_of_all_or_a_reason(script, command, flag):
    flags = flags_of(command.config)
    names = {name for one in flags for name in one.names} | set(common(flags))
    reason = WITHOUT.get((f"{script} {command.name}", flag))
    assert (flag in names) == (reason is None), reason


@pytest.mark.parametrize("columns", [60, 80, 120])
@each_command
def test_help_fits_the_terminal_and_has_no_colour_where_none_is_wanted(script, command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for words in ([command.name, "--help"], ["--help"]):
        assert console.main(script, "", MODULES[script].COMMANDS, words) == 0
        page = capsys.readouterr().out
        assert "\x1b" not in page
        assert max(map(len, page.splitlines())) <= columns
        assert "\nExamples:\n" in page


@each_command
def test_what_has_to_be_given_stands_first_in_the_help(script, command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    assert console.main(script, "", MODULES[script].COMMANDS, [command.name, "--help"]) == 0
    headings = re.findall(r"^(\w+):$", capsys.readouterr().out, flags=re.MULTILINE)
    if any(flag.required for flag in flags_of(command.config)):
        assert headings[0] == "Required"
    assert [one for one in headings if one in LAST] == [one for one in LAST if one in headings]
    assert headings[-2:] == ["Common", "Examples"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("grpo --gae-gamma 0.9", "align-rl grpo: unknown flag --gae-gamma. It belongs to align-rl ppo"),
        ("ppo --K 6", "align-rl ppo: unknown flag --K. It belongs to align-rl grpo"),
        ("grpo --set gae_gamma=0.9", "--set: unknown key 'gae_gamma'. It belongs to align-rl ppo"),
        ("ppo --set scale_rewards=none", "--set: unknown key 'scale_rewards'. It belongs to align-rl grpo"),
        ("ppo --num_generations 4", "align-rl ppo: unknown flag --num_generations. TRL's --num_generations is --K of "
         "align-rl grpo"),
        ("ppo --ppo", "align-rl ppo: unknown flag --ppo. It is the command itself: leave it out"),
    ],
)  # fmt: skip
def test_a_setting_of_the_other_method_is_said_to_be_its(words, said, capsys):
    assert console.main("align-rl", "", MODULES["align-rl"].COMMANDS, words.split()) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


@pytest.mark.parametrize("name", list(FOREIGN))
def test_a_name_of_another_program_leads_to_a_flag_of_ours(name):
    """Each row leads somewhere, and none is for a flag that every command knows anyway."""
    ours = [{plain(one) for flag in flags_of(command.config) for one in flag.names} for _, command in COMMANDS]
    for wanted in FOREIGN[name].ours:
        assert any(plain(wanted) in known and name not in known for known in ours)


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
