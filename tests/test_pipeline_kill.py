"""A pipeline that is killed leaves no process behind, and two of them never work in one directory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align_contracts import LockedError
from align_contracts.durable import locked
from pipeline import lock
from pipeline.leftovers import clear
from pipeline.lock import only_one

ROOT = Path(__file__).parents[1]


@pytest.fixture
def start(tmp_path):
    """Starts a pipeline whose first step takes minutes; returns its process once that step writes its log."""
    recipe, out = tmp_path / "r.toml", tmp_path / "out"
    recipe.write_text("[base]\nembedded = true\n[data]\nembedded_prompts = 2000000\n")
    begun: list[subprocess.Popen[str]] = []

    def start(*command: str) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", *command, "--recipe", str(recipe), "--out", str(out)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(argv, cwd=ROOT, text=True, start_new_session=True, **pipes)
        begun.append(process)
        return process

    start.out, start.log = out, out / ".logs" / "data.log"
    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(true, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def steps_of(out: Path) -> list[str]:
    found = subprocess.run(
        ["pgrep", "-f", f"align-data build.*{out}/data"], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def test_a_kill_of_nox_and_its_group_ends_the_running_step_and_frees_the_directory(start):
    process = start("nox", "-s", "pipeline", "--")
    until(lambda: start.log.exists() and steps_of(start.out))
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: not steps_of(start.out), 20)
    with only_one(start.out):
        pass
    assert not (start.out / "data").exists()


def test_a_second_pipeline_is_refused_and_touches_no_log(start):
    first = start("pipeline")
    until(lambda: start.log.exists() and steps_of(start.out))
    before = start.log.read_bytes()
    second = start("pipeline")
    error = second.communicate(timeout=60)[1]
    assert second.returncode == 6
    assert error.startswith(f"error: a pipeline works in {start.out}: got pid {first.pid} on ")
    assert start.log.read_bytes() == before
    assert first.poll() is None


def test_nox_ends_with_the_pipeline_s_exit_code():
    command = [sys.executable, "-m", "nox", "-s", "pipeline", "--", "--recipe", "none.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "error: there is no recipe none.toml" in done.stderr


def test_the_directory_is_held_until_the_last_step_of_a_dead_pipeline_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "GRACE", 0.5)
    out = tmp_path / "out"
    hold = "import os, sys, time; from pathlib import Path; from pipeline.lock import only_one\n"
    hold += f"with only_one(Path({str(out)!r})) as lock:\n"
    hold += "    os.set_inheritable(lock, True)\n    os.fork() or time.sleep(300)\n    os.kill(os.getpid(), 9)\n"
    dead = subprocess.Popen([sys.executable, "-c", hold], cwd=ROOT, start_new_session=True)
    dead.wait()
    try:
        with pytest.raises(LockedError, match=f"pid {dead.pid} on"), only_one(out):
            pass
    finally:
        os.killpg(dead.pid, signal.SIGKILL)
    monkeypatch.setattr(lock, "GRACE", 20.0)
    with only_one(out):
        pass
    assert list(out.iterdir()) == []


def test_what_a_killed_step_left_beside_its_artifact_is_cleared(tmp_path):
    for name in (".sft.tmp-0123456789abcdef", "..sft.run.tmp-0123456789abcdef", ".sft.run", "sft", ".rm.run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    (tmp_path / ".sft.lock").write_text("")
    (tmp_path / "..sft.run.lock").write_text("")
    clear(tmp_path / "sft")
    assert {path.name for path in tmp_path.iterdir()} == {"sft", ".rm.run"}
    with locked(tmp_path / "sft"), pytest.raises(LockedError, match=f"pid {os.getpid()} on"):
        clear(tmp_path / "sft")
