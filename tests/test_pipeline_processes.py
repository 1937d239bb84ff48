import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from align_contracts import AlignError, InterruptedRun, PreflightError, signals
from pipeline import processes
from pipeline.chain import PipelineConfig, Step
from pipeline.logs import last_attempt
from pipeline.outcome import StepError
from pipeline.plan import Planned
from pipeline.processes import Pool, environment


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A pool whose console scripts are shell scripts; returns what it printed and in which order steps ended."""
    monkeypatch.setattr(processes, "finished", lambda planned: planned.target.exists())
    monkeypatch.setattr(processes, "PATIENCE", ((signal.SIGINT, 2.0), (signal.SIGTERM, 2.0)))
    scripts, out = tmp_path / "bin", tmp_path / "out"
    scripts.mkdir()
    out.mkdir()

    def run(jobs: int, *steps: tuple[str, str, tuple[str, ...]], width: int = 200) -> str:
        planned = []
        for name, body, needs in steps:
            script = scripts / name
            script.write_text(f"#!/bin/sh\n{body}\n")
            script.chmod(0o755)
            step = Step(name, name, "go", {"--in": needs})
            planned.append(Planned(step, out, ("go", str(out / name)), PipelineConfig()))
        stream = io.StringIO()
        try:
            Pool(tmp_path / ".logs", jobs, Console(file=stream, width=width), scripts).run(planned).require_all()
        finally:
            run.printed = stream.getvalue()
        return stream.getvalue()

    run.out, run.logs, run.printed = out, tmp_path / ".logs", ""
    return run


def test_steps_run_after_what_they_need_and_leave_a_log(bench):
    printed = bench(
        2,
        ("c", f"ls {bench.out}; echo made > $2", ("a", "b")),
        ("a", "sleep 0.2; echo made > $2", ()),
        ("b", "echo made > $2", ("a",)),
    )
    assert [line.split()[0] for line in printed.splitlines()] == ["a", "b", "c"]
    assert all(line.endswith("done") for line in printed.splitlines())
    begun, *said, ended = (bench.logs / "c.log").read_text().splitlines()
    assert begun.startswith("=== ")
    assert begun.endswith(f"UTC  $ c go {bench.out}/c")
    assert said == ["a", "b"]
    assert "  done after " in ended


def test_independent_steps_run_at_the_same_time(bench):
    # each waits for the other's sign of life: one after the other they would wait for ever
    wait = "touch {0}/{1}.up; n=0; until [ -e {0}/{2}.up ]; do sleep 0.05; n=$((n+1)); [ $n -lt 200 ] || exit 1; done"
    bench(2, ("a", wait.format(bench.out, "a", "b"), ()), ("b", wait.format(bench.out, "b", "a"), ()))


def test_what_is_there_is_kept(bench):
    (bench.out / "a").write_text("")
    assert bench(1, ("a", "exit 1", ())).split() == ["a", "kept"]


def test_a_failure_shows_the_log_s_end_and_lets_go_on_what_does_not_need_it(bench):
    with pytest.raises(StepError) as caught:
        bench(
            2,
            ("a", "echo 'error: [bad] news'; exit 4", ()),
            ("b", "sleep 0.5; echo made > $2", ()),
            ("c", "echo made > $2", ("b",)),
            ("d", "echo made > $2", ("a", "b")),
            ("e", "echo made > $2", ("d",)),
        )
    assert caught.value.exit_code == 4
    assert "  error: [bad] news\n" in bench.printed
    assert {path.name for path in bench.out.iterdir()} == {"b", "c"}
    assert str(caught.value).splitlines() == [
        "3 of 5 steps were not made:",
        f"  a  failed with exit code 4; all it wrote is in {bench.logs}/a.log",
        "  d  not started: it needs a",
        "  e  not started: it needs a",
        "The same command keeps what is there and tries the others.",
    ]


def test_the_first_failure_decides_the_exit_code_and_a_signal_s_is_a_shell_s(bench):
    with pytest.raises(StepError) as caught:
        bench(1, ("a", "kill -9 $$", ()), ("b", "exit 5", ()))
    assert caught.value.exit_code == 137
    assert "a  was ended by SIGKILL: was the memory enough?" in str(caught.value)
    assert "b  failed with exit code 5" in str(caught.value)


def test_logs_keep_every_attempt_and_the_pipeline_s_own_tells_the_story(bench):
    with pytest.raises(StepError):
        bench(1, ("a", "echo first; exit 5", ()))
    bench(1, ("a", "echo second; echo made > $2", ()))
    lines = (bench.logs / "a.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("=== ")] == ["first", "second"]
    assert "failed with exit code 5 after" in lines[2]
    assert last_attempt(bench.logs / "a.log") == ["second"]
    story = (bench.logs / "pipeline.log").read_text().splitlines()
    assert [line.partition(" UTC  ")[2] for line in story] == [
        *("a begins", "a failed with exit code 5"),
        *("a begins", "a done"),
    ]


def test_warnings_and_notes_are_shown_once(bench):
    said = "echo 'warning: no [licence]'; echo other; echo 'note: {}'; echo made > $2"
    printed = bench(1, ("a", said.format("of a"), ()), ("b", said.format("of b"), ("a",)))
    assert [line.strip() for line in printed.splitlines() if line.startswith("  ")] == [
        *("warning: no [licence]", "note: of a", "note: of b"),
    ]


def test_a_missing_script_is_told(bench, tmp_path):
    step = Planned(Step("x", "align-none", "go"), tmp_path, (), PipelineConfig())
    with pytest.raises(PreflightError, match="uv sync"):
        Pool(tmp_path / ".logs", 1, Console(file=io.StringIO()), tmp_path).run([step])


def test_running_steps_are_told_now_and_then_without_a_terminal(bench, monkeypatch):
    monkeypatch.setattr(processes, "HEARTBEAT", 0.1)
    long = f"half way{' x' * 60}"  # a log has no width: the line stays whole
    assert f"… {long}\n" in bench(1, ("a", f"echo '{long}'; sleep 0.4", ()), width=80)


def test_every_step_gets_its_share_of_the_cores(monkeypatch):
    monkeypatch.setattr(processes, "cores", lambda: 8)
    assert environment(2, {})["OPENBLAS_NUM_THREADS"] == "4"
    assert environment(16, {})["OPENBLAS_NUM_THREADS"] == "1"
    assert "OPENBLAS_NUM_THREADS" not in environment(1, {})
    assert environment(2, {"OPENBLAS_NUM_THREADS": "3"})["OPENBLAS_NUM_THREADS"] == "3"


def test_steps_share_compiled_modules_where_none_may_lie_beside_the_sources(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/venv")
    env = environment(2, {"PYTHONDONTWRITEBYTECODE": "1"})
    assert (env["PYTHONDONTWRITEBYTECODE"], env["PYTHONPYCACHEPREFIX"]) == ("", "/venv/bytecode")  # "" is unset
    assert "PYTHONPYCACHEPREFIX" not in environment(2, {})
    own = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "/mine"}
    assert environment(1, own).items() >= own.items()
    monkeypatch.setattr(sys, "base_prefix", "/venv")  # no virtual environment: nothing of ours may be put there
    assert environment(2, {"PYTHONDONTWRITEBYTECODE": "1"})["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupt_stops_the_children_and_tells_how_to_go_on(tmp_path, number, code):
    root = Path(__file__).parents[1]
    recipe = tmp_path / "r.toml"
    recipe.write_text("[base]\nembedded = true\n[data]\nembedded_prompts = 2000000\n")  # minutes, if left alone
    command = [sys.executable, "-m", "pipeline", "--recipe", str(recipe), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "out" / ".logs" / "data.log"
    deadline = time.monotonic() + 30
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    killer = threading.Timer(30, process.kill)
    killer.start()
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(number)  # once to the group, once more by a parent that hands it on
    error = process.communicate()[1]
    killer.cancel()
    assert process.returncode == code
    again = f"uv run nox -s pipeline -- {shlex.join(command[3:])}"
    said = f"error: stopped by {number.name}. This command keeps every finished step and goes on:\n  {again}"
    assert error.strip() == said
    assert "data interrupted\n" in (tmp_path / "out" / ".logs" / "pipeline.log").read_text()
    assert not (tmp_path / "out" / "data").exists()
    left = subprocess.run(["pgrep", "-f", str(recipe)], capture_output=True, text=True, check=False).stdout.split()
    assert [pid for pid in left if pid != str(os.getpid())] == []


def test_a_step_that_does_not_listen_is_killed_and_noted(bench, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", ((signal.SIGINT, 0.3), (signal.SIGTERM, 0.3)))
    waits = f"trap '' INT TERM; touch {bench.out}/up; while :; do sleep 0.1; done"

    def interrupt():
        while not (bench.out / "up").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(InterruptedRun), signals.listening():
        bench(1, ("a", waits, ()))
    assert [line.split("  ")[1] for line in (bench.logs / "pipeline.log").read_text().splitlines()] == [
        "a begins",
        "a interrupted",
    ]
    assert "was ended by SIGKILL" in (bench.logs / "a.log").read_text().splitlines()[-1]


def test_the_command_line_reports_mistakes_in_one_line(tmp_path, capsys, monkeypatch):
    from pipeline.__main__ import main

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["--recipe", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().err.startswith("error: there is no recipe")
    assert issubclass(StepError, AlignError)
