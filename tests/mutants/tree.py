"""A tree of its own for each mutant: sources with the bug and tests, in front of what is installed."""

import importlib.util
import multiprocessing
import os
import shutil
import sys
from pathlib import Path

from mutants.judge import Verdict, judge
from mutants.mutant import ROOT

HOMES = tuple(path.relative_to(ROOT) for path in (ROOT / "contracts/src", *sorted(ROOT.glob("packages/*/src"))))
"""Where sources lie."""
SUITE, REPORT, OUTPUT = Path("tests/conformance"), "report.xml", "output.txt"
FOREIGN = 70
"""Exit status of a process that would have tested other sources than its tree's."""

if sys.platform == "linux":
    # A fork of a process that has imported everything starts at once. MLX has no thread yet: it has computed nothing.
    PROCESSES = multiprocessing.get_context("forkserver")
    PROCESSES.set_forkserver_preload(["mutants.warm"])
else:
    PROCESSES = multiprocessing.get_context("spawn")


def make_tree(source: Path, folder: Path) -> Path:
    """Copy what the suite needs, sources, tests and pytest's settings, from one tree into an empty folder.

    Byte code that a run in `source` has left comes along: times of change are kept, so it still fits.
    """
    for part in (*HOMES, Path("tests")):
        shutil.copytree(source / part, folder / part, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    shutil.copy(source / "pyproject.toml", folder)
    return folder


def put(tree: Path, path: Path, text: str) -> None:
    """Write a module's new text; its old byte code goes, for only the second of the change would tell them apart."""
    for stale in (tree / path.parent / "__pycache__").glob(f"{path.stem}.*"):
        stale.unlink()
    (tree / path).write_text(text, encoding="utf-8")


def run_suite(tree: Path, limit: float, first: str | None = None) -> Verdict:
    """Run a tree's suite up to its first failure; what it prints goes to the tree's `OUTPUT`.

    Args:
        tree: as `make_tree` has made it, with or without a bug.
        limit: seconds after which the suite counts as hanging.
        first: the test file to begin with.
    """
    files = sorted((tree / SUITE).glob("test_*.py"), key=lambda path: (path.name != first, path.name))
    process = PROCESSES.Process(target=_pytest, args=(tree, [str(file) for file in files]))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return judge(None, tree / REPORT)
    return judge(process.exitcode, tree / REPORT)


def _pytest(tree: Path, files: list[str]) -> None:
    """Be the process of a tree."""
    import pytest

    with (tree / OUTPUT).open("w") as output:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    os.chdir(tree)
    sys.dont_write_bytecode = False  # whatever the user wishes for the checkout: copies of this tree start sooner
    sys.path[:] = [str(tree / home) for home in HOMES] + [entry for entry in sys.path if entry != str(ROOT / "tests")]
    packages = [path for home in HOMES for path in (tree / home).iterdir() if (path / "__init__.py").exists()]
    if any(_found(path.name) != path / "__init__.py" for path in packages):
        sys.exit(FOREIGN)
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", f"--junitxml={REPORT}", *files]))


def _found(package: str) -> Path | None:
    """Where a package would be imported from."""
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin)
