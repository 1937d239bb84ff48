"""Was a mutant killed? Only by a test that ran and failed; a suite that does not begin or end has judged nothing."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

FAILED = 1
"""Pytest's exit status where tests ran and some failed; others mean that they could not run."""
CRASHES = ("AttributeError", "ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "TypeError")
"""What a mutant raises that is no wrong number but a program that does not work: it shows nothing of the suite."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, in words, and whether that is a kill."""

    killed: bool
    text: str


SURVIVED = Verdict(False, "SURVIVED")


def judge(status: int | None, report: Path) -> Verdict:
    """Judge by pytest's exit status (None: stopped at the time limit) and its JUnit report."""
    if status is None:
        return Verdict(False, "NOT JUDGED: stopped at the time limit: a slow machine looks the same as a hang")
    if status == 0:
        return SURVIVED
    if status != FAILED or not report.exists():
        return Verdict(False, f"NOT JUDGED: the tests did not run (pytest ended with {status})")
    for case in ElementTree.parse(report).iter("testcase"):
        for outcome in case:
            if outcome.tag in ("failure", "error"):
                test = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
                where = "in its fixture" if outcome.tag == "error" else "in the test"
                return _by(test, where, _kind(outcome.text or ""))
    return Verdict(False, "NOT JUDGED: pytest failed, but no test did")


def _kind(traceback: str) -> str:
    """Give the exception's class: pytest ends a traceback with ``file:line: Class``."""
    return traceback.rstrip().rpartition("\n")[2].rpartition(": ")[2].rpartition(".")[2]


def _by(test: str, where: str, kind: str) -> Verdict:
    if kind in CRASHES:
        return Verdict(False, f"NOT JUDGED: {test} met a {kind}: the mutant is no running program")
    return Verdict(True, f"killed by {test} ({kind} {where})")
