"""The table in README.md names tests that exist, and leaves none of this suite's files out."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent


def named():
    """Yield (file, test) of every name in the tables' second column."""
    for line in (HERE / "README.md").read_text().splitlines():
        file = None
        for name in re.findall(r"`([^`]+)`", line.split("|")[2]) if line.startswith("| ") else []:
            file, _, test = name.rpartition(": ") if ": " in name else (file, "", name)
            yield file, test


def test_every_named_test_exists():
    names = list(named())
    assert len(names) > 90
    tests = {}
    for file, test in names:
        if file not in tests:
            tree = ast.parse((HERE / f"test_{file}.py").read_text())
            tests[file] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert test == "*" or f"test_{test}" in tests[file], f"{file}: {test}"
    own = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")}
    assert own - set(tests) == {"readme", "reference"}
