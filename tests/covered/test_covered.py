import importlib.util
from pathlib import Path

import pytest

from covered.groups import GROUPS
from covered.table import Row, render, rows

ROOT = Path(__file__).parents[2]


def report(**files):
    return {
        "files": {
            path: {
                "summary": {
                    "num_branches": branches,
                    "covered_branches": taken,
                    "num_statements": 10,
                    "covered_lines": 9,
                },
                "missing_branches": missing,
            }
            for path, (branches, taken, missing) in files.items()
        }
    }


FOUND = report(
    **{
        "contracts/src/align_x/store.py": (20, 19, [[7, 9]]),
        "contracts/src/align_x/sub/__init__.py": (0, 0, []),
        "contracts/src/align_x/other.py": (4, 0, []),
    }
)


def test_rows_are_the_modules_asked_for():
    first, second = rows(FOUND, ["align_x.store", "align_x.sub"])
    assert first == Row("align_x.store", 20, 19, 10, 9, (7,))
    assert first.percent == 95.0  # 19 of 20
    assert second.percent == 90.0  # it has no branches: 9 of 10 statements


def test_a_module_that_was_never_measured_is_an_error():
    with pytest.raises(KeyError):
        rows(FOUND, ["align_x.absent"])


def test_every_module_counts_for_itself():
    good = Row("good", 100, 100, 1, 1)
    text = render([good, Row("bad", 10, 9, 1, 1, (3, 8))], 95.0)
    assert text.splitlines()[-1] == "covered: FAIL below 95 %: bad 90.0 %"  # though 109 of 110 are 99 %
    assert [line.split() for line in text.splitlines()[2:4]] == [
        ["bad", "10", "9", "90.0", "3,", "8"],
        ["all", "110", "109", "99.1"],
    ]
    assert render([good], 95.0).splitlines()[-1] == "covered: pass, every module at 95 % or more"


def test_every_name_in_the_groups_is_there():
    for group in GROUPS.values():
        assert all(importlib.util.find_spec(module) for module in group.modules)
        assert all((ROOT / path).exists() for path in group.tests)
