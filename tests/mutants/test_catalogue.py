"""The catalogue fits the sources: every bug has its one place, changes the program, and leaves it a program."""

import ast

import pytest

from mutants.catalogue import MUTANTS
from mutants.mutant import ROOT, Mutant, StaleMutantError
from mutants.tree import SUITE


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_another_program(mutant):
    healthy = (ROOT / mutant.path).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(mutant.plant(ROOT))) != ast.dump(ast.parse(healthy))
    assert (ROOT / SUITE / mutant.first).is_file()


def test_names_and_bugs_are_unique():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_there_are_enough():
    """The specification asks for 25 classic bugs."""
    assert len(MUTANTS) >= 25


@pytest.mark.parametrize(("text", "times"), [("y = 1\n", 0), ("x = 1\nx = 1\n", 2)])
def test_stale_mutant_is_refused(tmp_path, text, times):
    mutant = Mutant("wrong-x", "align_rl/x.py", "x = 1", "x = 2", "x is wrong", "test_x.py")
    path = tmp_path / "packages/align-rl/src/align_rl/x.py"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(StaleMutantError, match=f"wrong-x is stale.*has {times} times"):
        mutant.plant(tmp_path)
    path.write_text("x = 1\n")
    assert mutant.plant(tmp_path) == "x = 2\n"
