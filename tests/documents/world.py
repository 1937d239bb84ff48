"""A place where examples can be given: the repository's recipes in miniature, and the chain that they make."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from align_contracts import AlignError, console
from align_data import embedded
from documents.pages import ROOT, Example

RECIPE = "recipes/embedded.toml"
"""Every command that reads a recipe is given this one where the page gives none; here it is the miniature."""
SCRIPTS = {
    name: importlib.import_module(f"{target.partition(':')[2]}.cli")
    for path in (ROOT / "contracts/pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml")))
    for name, target in tomllib.loads(path.read_text())["project"].get("scripts", {}).items()
}
"""The modules of the console scripts."""


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, as a reader would who has cloned the repository there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def miniature() -> str:
    """The recipe of the tests, and cuts of the work, so that no memory is tried out."""
    cuts = "token_budget = 1024\nrollout_rows = 16\ngradient_checkpointing = false\n"
    text = (ROOT / "tests/tiny.toml").read_text(encoding="utf-8").replace("[rl]\n", f"[rl]\n{cuts}")
    return text.replace("[rm]\n", f"[rm]\n{cuts}").replace("[sft]\n", "[sft]\ntoken_budget = 1024\n")


def prefer(file: Path) -> None:
    """Write the reader's own preferences: questions of the embedded world without its categories and checks."""
    file.parent.mkdir(parents=True)
    kept = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")
    rows = [{name: row[name] for name in kept} for row in embedded.rows(7, 160)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class World:
    """A folder for the examples of a page.

    Args:
        folder: an empty one.
        like: the world to begin with; none: recipes only.
    """

    def __init__(self, folder: Path, like: World | None = None) -> None:
        self.folder = folder
        if like is not None:
            shutil.copytree(like.folder, folder, dirs_exist_ok=True, symlinks=True)
            return
        (folder / "recipes").mkdir()
        for recipe in (ROOT / "recipes").glob("*.toml"):
            (folder / "recipes" / recipe.name).write_text(miniature(), encoding="utf-8")
        shutil.copytree(ROOT / "contracts/schemas", folder / "contracts/schemas")
        (folder / "docs").mkdir()
        prefer(folder / "my/preferences/train_prefs.jsonl")

    def settings(self, example: Example) -> tuple[str, list[str]]:
        """The console script of an example and its arguments, with the recipe."""
        script, *arguments = example.words
        command = next((one for one in SCRIPTS[script].COMMANDS if arguments[:1] == [one.name]), None)
        reads = command is not None and bool(command.sections)
        if reads and not {"--config", "--help", "--model"} & set(arguments):
            arguments += ["--config", RECIPE]
        return script, arguments

    def identity(self, example: Example) -> str:
        """What an example does: examples with the same settings, however they are written, do the same."""
        if example.words[0] not in SCRIPTS:
            return example.command
        script, arguments = self.settings(example)
        with inside(self.folder):
            try:
                command, config = console.resolve(script, SCRIPTS[script].COMMANDS, arguments)
            except AlignError:
                return f"{example.where} {script} {shlex.join(arguments)}"
        return f"{script} {command.name} {config!r}"

    def run(self, example: Example) -> None:
        """Do what an example says, and compare the exit code, and the errors that the page shows."""
        script, arguments = self.settings(example)
        stops = {"--overwrite", "--dry-run", "--show-config"} & set(arguments)
        if "--out" in arguments and not stops and example.code == 0:
            shutil.rmtree(self.folder / arguments[arguments.index("--out") + 1], ignore_errors=True)
        out, err = io.StringIO(), io.StringIO()
        with inside(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = console.main(script, "", SCRIPTS[script].COMMANDS, arguments)
        compare(example, code, err.getvalue())

    def shell(self, example: Example) -> None:
        """Give a line to the shell."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", example.command],
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        compare(example, done.returncode, done.stderr)


def compare(example: Example, code: int, err: str) -> None:
    """Fail where an example ended in another way than its page says."""
    assert code == example.code, f"{example.where}: {example.command}\nended with exit code {code}:\n{err}"
    for shown in example.errors:
        pattern = ".*".join(re.escape(part) for part in shown.split("…"))
        assert re.search(pattern, err, re.DOTALL), f"{example.where}: the page shows\n{shown}\nit said\n{err}"
