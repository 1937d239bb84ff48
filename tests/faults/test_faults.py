"""The campaign itself: rows are found, counted, judged and cleaned up after; a broken promise ends with exit code 1."""

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import faults.rows
from faults.__main__ import LARGE, main
from faults.row import discover

HEAD = """
import os, subprocess, sys, time
from pathlib import Path
from faults.row import Count, Row
"""
GOOD = """
def run(scratch, tries, seed):
    (scratch / "big").write_bytes(b"x")
    return Count(tries, tries)
ROWS = (Row("good", "all is well", 3, run),)
"""


START = "import sys, planted; from faults.__main__ import main; sys.exit(main(sys.argv[1:], package=planted))"


def start(folder, modules, *arguments):
    """Start the command on rows of given sources, its scratch in `folder`."""
    (folder / "planted").mkdir()
    (folder / "scratch").mkdir()
    for name, text in {"__init__": "", **modules}.items():
        (folder / f"planted/{name}.py").write_text(HEAD + textwrap.dedent(text))
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder / "scratch")}
    return subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def campaign(tmp_path):
    """Run the command on rows of given sources: (exit code, lines printed, what is left of its scratch)."""

    def run(*arguments, **modules):
        process = start(tmp_path, modules, *arguments)
        printed, _ = process.communicate()
        left = sorted(str(path.relative_to(tmp_path / "scratch")) for path in (tmp_path / "scratch").rglob("*"))
        return process.returncode, printed.splitlines(), left

    return run


def test_kept_promises_pass_and_leave_nothing(campaign):
    code, lines, left = campaign(good=GOOD)
    assert code == 0
    name, count, _, *rest = lines[0].split()
    assert (name, count, rest) == ("good", "3/3", ["s", "all", "is", "well"])
    assert lines[-1] == "faults: pass"
    assert left == []


def test_large_means_more_tries_and_a_seed_reaches_the_row(campaign):
    sees = """
    def run(scratch, tries, seed):
        return Count(0, tries, (f"seed {seed}",))
    ROWS = (Row("sees", "shows its seed", 3, run),)
    """
    code, lines, _ = campaign("--large", "--seed", "41", sees=sees)
    assert code == 1
    assert f"0/{3 * LARGE}" in lines[0]
    assert lines[1] == "    seed 41"


BROKEN = {
    "a lost try": ('return Count(2, 3, ("the third was lost",))', "2/3", "the third was lost"),
    "fewer tries than promised": ("return Count(2, 2)", "2/2", "fewer times than the 3"),
    "an exception": ('raise OSError("no such luck")', "0/0", "OSError: no such luck"),
    "a crash": ("os.abort()", "0/0", "SIGABRT"),
    "an end without a count": ("os._exit(0)", "0/0", "it said nothing"),
}


@pytest.mark.parametrize(("body", "tally", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_promise_fails_and_its_scratch_is_kept(campaign, body, tally, words):
    bad = f"""
    def run(scratch, tries, seed):
        (scratch / "evidence").touch()
        {body}
    ROWS = (Row("bad", "never holds", 3, run),)
    """
    code, lines, left = campaign(good=GOOD, bad=bad)
    assert code == 1
    assert tally in next(line for line in lines if line.startswith("bad")).split()
    assert any(words in line for line in lines)
    assert lines[-1] == "faults: FAIL bad"
    assert any(path.endswith("bad/work/evidence") for path in left)
    assert not any("good" in path for path in left)


def test_a_row_that_raises_leaves_its_traceback(campaign, tmp_path):
    bad = """
    def run(scratch, tries, seed):
        raise OSError("no such luck")
    ROWS = (Row("bad", "never holds", 3, run),)
    """
    _, _, left = campaign(bad=bad)
    output = next(path for path in left if path.endswith("output.txt"))
    assert "Traceback" in (tmp_path / "scratch" / output).read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_processes_that_a_row_forgets_are_killed(campaign, tmp_path):
    """One in the row's own group, one in a session of its own."""
    leaky = f"""
    def run(scratch, tries, seed):
        both = [subprocess.Popen(["sleep", "600"], start_new_session=new) for new in (False, True)]
        Path({str(tmp_path / "ids")!r}).write_text(" ".join(str(process.pid) for process in both))
        return Count(tries, tries)
    ROWS = (Row("leaky", "forgets", 1, run),)
    """
    assert campaign(leaky=leaky)[0] == 0
    assert not any(Path("/proc", number).exists() for number in (tmp_path / "ids").read_text().split())


def test_only_named_rows_run(campaign):
    code, lines, _ = campaign("good", good=GOOD, other=GOOD.replace('"good"', '"other"'))
    assert code == 0
    assert not any(line.startswith("other") for line in lines)


def test_unknown_names_are_refused(capsys):
    assert main(["no-such-row"]) == 2
    assert "no such row: no-such-row" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(tmp_path, number):
    """Its row and that row's child are asleep."""
    sleeps = f"""
    def run(scratch, tries, seed):
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path({str(tmp_path / "new")!r}).write_text(f"{{child.pid}} {{os.getpid()}}")
        os.rename({str(tmp_path / "new")!r}, {str(tmp_path / "ids")!r})
        child.wait()
    ROWS = (Row("sleeps", "sleeps", 1, run),)
    """
    process = start(tmp_path, {"sleeps": sleeps})
    while not (tmp_path / "ids").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)  # impatience, as of a program that signals both a process and its group
    assert process.communicate()[0] == "faults: interrupted\n"
    assert process.returncode == 130
    assert list((tmp_path / "scratch").iterdir()) == []
    if sys.platform == "linux":
        assert not any(Path("/proc", number).exists() for number in (tmp_path / "ids").read_text().split())


def test_the_rows_of_the_campaign_have_unique_names_and_promises():
    rows = [row for _, row in discover(faults.rows).values()]
    assert all(row.tries > 0 and row.promise for row in rows)


def test_two_rows_of_one_name_are_refused(tmp_path, monkeypatch):
    (tmp_path / "twice").mkdir()
    for name in ("__init__", "a", "b"):
        (tmp_path / f"twice/{name}.py").write_text("" if name == "__init__" else HEAD + GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"two rows are called good: in twice\.a and twice\.b"):
        discover(importlib.import_module("twice"))
