"""Only a test that ran and failed kills: real pytest runs on suites of one file."""

import subprocess
import sys

import pytest

import mutants.__main__ as command
from mutants.catalogue import MUTANTS
from mutants.judge import SURVIVED, judge
from mutants.mutant import ROOT

FIXTURE = "import pytest\n@pytest.fixture\ndef x():\n    {}\ndef test_one(x):\n    pass\n"


def verdict(tmp_path, text):
    """Judge a suite whose only file has this text."""
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--junitxml=report.xml", "test_it.py"]
    status = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode
    return judge(status, tmp_path / "report.xml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def test_a():\n    pass\ndef test_b():\n    assert 1 == 2\n", "test_it::test_b (AssertionError in the test)"),
        ("def test_a():\n    raise ValueError('a: b')\n", "test_it::test_a (ValueError in the test)"),
        (FIXTURE.format("assert 1 == 2"), "test_it::test_one (AssertionError in its fixture)"),
    ],
    ids=["assertion", "error", "fixture"],
)
def test_a_failed_test_kills(tmp_path, text, words):
    found = verdict(tmp_path, text)
    assert found.killed
    assert found.text == f"killed by {words}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere\n", "did not run"),
        ("assert 1 == 2\n", "did not run"),
        ("x = 1\n", "did not run"),
        ("def test_a():\n    nothing()\n", "NameError"),
        (FIXTURE.format("None.x"), "AttributeError"),
    ],
    ids=["import", "assertion outside of tests", "no test", "crash", "crash in a fixture"],
)
def test_a_suite_that_cannot_run_kills_nothing(tmp_path, text, words):
    found = verdict(tmp_path, text)
    assert not found.killed
    assert found.text.startswith("NOT JUDGED")
    assert words in found.text


def test_a_suite_that_passes_kills_nothing(tmp_path):
    assert verdict(tmp_path, "def test_a():\n    pass\n") == SURVIVED == judge(0, tmp_path / "none.xml")
    assert not SURVIVED.killed


def test_without_a_report_nothing_is_judged(tmp_path):
    """A process that dies before pytest begins may end with any status."""
    found = judge(1, tmp_path / "none.xml")
    assert not found.killed
    assert found.text.startswith("NOT JUDGED")


def test_a_time_out_kills_nothing(tmp_path):
    """Whatever the report of a stopped run says: a busy machine would kill every mutant."""
    (tmp_path / "report.xml").write_text(
        "<testsuite><testcase name='test_a'><failure>E: 1</failure></testcase></testsuite>"
    )
    found = judge(None, tmp_path / "report.xml")
    assert not found.killed
    assert found.text.startswith("NOT JUDGED")


def test_mutants_have_many_times_the_time_of_the_suite_without_a_bug(tmp_path, monkeypatch, capsys):
    """On a clock on which the suite takes 7 s and a mutant's is stopped at its limit: nothing is killed, exit 1."""
    clock, limits = [100.0], []

    def run_suite(tree, limit, first=None):
        limits.append(limit)
        clock[0] += limit if first else 7.0
        return judge(None if first else 0, tree / "none.xml")

    mutant = MUTANTS[0]
    monkeypatch.setattr(command, "run_suite", run_suite)
    monkeypatch.setattr(command, "make_tree", lambda source, folder: ROOT)
    monkeypatch.setattr(command, "put", lambda tree, path, text: None)
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys, "argv", ["mutants", mutant.name, "--limit", "33"])
    assert command.main() == 1
    assert limits == [33.0, 70.0]
    printed = capsys.readouterr().out
    assert "NOT JUDGED" in printed
    assert printed.endswith("killed 0 of 1\n")
