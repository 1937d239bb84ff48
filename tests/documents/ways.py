"""How each example is held to the code: given for real, or only read, and then why."""

from __future__ import annotations

import ast
import re
import signal
from collections.abc import Callable
from pathlib import Path

from align_contracts import console
from documents.pages import ROOT, Example
from documents.world import SCRIPTS, inside
from pipeline.__main__ import main as pipeline

SHELL = {"cd", "cp", "head", "ls", "mkdir", "printf", "python", "rm", "tail"}
"""Given to the shell, in the world's folder."""

ELSEWHERE = {
    "pip install uv": "changes the reader's machine",
    "uvx pre-commit install": "installs a program and a hook",
    "uv run ruff check --fix": "changes the working tree",
    "uv run ruff format": "changes the working tree",
    "uv run hf auth login": "asks for an account",
    "export OPENAI_API_KEY=…": "sets a key that only the reader has",
}
"""Commands of other programs that are only listed."""

APPLIED = "docs/extending.md"
"""Its commands are given in a copy of the sources that has its changes: `test_extending`."""

RESOLVED = {
    r"--model google/": "downloads Gemma",
    r"--source hf:": "downloads the study's data",
    r"import alpaca-eval": "reads a file that others publish",
}
"""Console scripts whose settings are resolved and which are not run."""


def way(example: Example) -> str:
    """One of run, resolved, shell, nox, pytest, applied, elsewhere, unknown."""
    first = example.words[0]
    if example.page == APPLIED:
        return "applied"
    if example.command in ELSEWHERE or first == "export":
        return "elsewhere"
    if first in SCRIPTS:
        return "resolved" if any(re.search(part, example.command) for part in RESOLVED) else "run"
    if first in SHELL:
        return "shell"
    if first == "nox":
        return "nox"
    return "pytest" if first == "pytest" else "unknown"


def resolve(example: Example) -> None:
    """Build the settings of a command as it would, and stop."""
    script, *arguments = example.words
    with inside(ROOT):
        console.resolve(script, SCRIPTS[script].COMMANDS, arguments)


def sessions() -> dict[str, str]:
    """The sessions of the noxfile and their functions."""
    found = {}
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            text = ast.unparse(mark)
            if text.startswith("nox.session"):
                name = re.search(r"name='([\w-]+)'", text)
                found[name[1] if name else node.name] = node.name
    return found


def check_nox(example: Example, scratch: Path) -> None:
    """Check that the sessions exist and take what they are given."""
    words = example.words[example.words.index("nox") + 1 :]
    before, after = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    assert not before or before[0] in ("-s", "-l"), example.command
    named = before[1:]
    assert set(named) <= sessions().keys(), f"{example.where}: no such session in {named}"
    for session in named:
        TAKES.get(session, takes_nothing)(example, after, scratch)


def takes_nothing(example: Example, after: list[str], scratch: Path) -> None:
    """Sessions without arguments."""
    assert not after, f"{example.where}: {example.command} passes what the test knows nothing of"


def dry_run(example: Example, after: list[str], scratch: Path) -> None:
    """The pipeline checks its settings and forms its commands: minutes to weeks are not spent."""
    after = [*after, *([] if "--out" in after else ["--out", "artifacts"])]
    place = after.index("--out") + 1
    after[place] = str(scratch / after[place])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with inside(ROOT):
            code = pipeline([*(word for word in after if word != "--dry-run"), "--dry-run", *_speed(after)])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert code == example.code, f"{example.where}: {example.command} ended with exit code {code}"


def _speed(after: list[str]) -> list[str]:
    return [] if "--tflops" in after else ["--tflops", "1"]


def paths_exist(example: Example, after: list[str], scratch: Path) -> None:
    """What pytest is given is there."""
    for before, word in zip(["", *after], after, strict=False):
        if not word.startswith("-") and before not in ("-k", "-m"):
            assert (ROOT / word).exists(), f"{example.where}: no {word}"


def is_benchmark(example: Example, after: list[str], scratch: Path) -> None:
    """The benchmark is there."""
    assert (ROOT / "benchmarks" / f"{after[0].replace('-', '_')}.py").is_file(), example.where


def is_row(example: Example, after: list[str], scratch: Path) -> None:
    """The rows of the campaign are there."""
    rows = {path.stem for path in (ROOT / "tests/faults/rows").glob("*.py")}
    named = [word for before, word in zip(["", *after], after, strict=False) if before != "--seed" and word[0] != "-"]
    assert set(named) <= rows, f"{example.where}: {named}"
    assert {word for word in after if word.startswith("-")} <= {"--large", "--seed"}, example.where


def is_directory(example: Example, after: list[str], scratch: Path) -> None:
    """A directory of artifacts, which `align-contracts validate --deep` is given elsewhere for real."""
    assert all(word.startswith("artifacts/") for word in after), example.where


TAKES: dict[str, Callable[[Example, list[str], Path], None]] = {
    "tests": paths_exist,
    "pipeline": dry_run,
    "bench": is_benchmark,
    "faults": is_row,
    "validate": is_directory,
    "notebooks": is_directory,
}
"""What a session may be given; sessions take minutes and are tested where they are defined."""


def check_pytest(example: Example) -> None:
    """The mark that is asked for is registered."""
    settings = (ROOT / "pyproject.toml").read_text()
    words = example.words
    if "-m" in words:
        assert f'"{words[words.index("-m") + 1]}:' in settings, example.where
