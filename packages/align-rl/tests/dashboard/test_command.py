"""The command as a user meets it."""

import io
import json
import re
import sys
import threading

import pytest
from rich.console import Console

from align_rl.cli import main
from align_rl.dashboard import command
from align_rl.dashboard.runs import Watched
from align_rl.dashboard.terminal import frame


@pytest.fixture
def watch(monkeypatch, capsys):
    """Run `align-rl watch`; gives exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["align-rl", "watch", *map(str, arguments)])
        return (main(), *capsys.readouterr())

    return call


@pytest.fixture
def two(logs, row):
    """A run of each method."""
    for method in ("ppo", "grpo"):
        logs.append(f"{method}-42", *(row(n, method=method) for n in (1, 2, 3)))
        logs.lock(f"{method}-42")
    return logs


def test_one_plain_frame(watch, two, tmp_path):
    code, out, err = watch(tmp_path, "--once")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    first = out.splitlines()[1]
    assert first.split()[:4] == ["grpo-42", "running", "3/4", "8"]  # 8 s left
    for part in ("1.500", "0.0300 / 0.02", "KL to SFT", "response length", "throughput", "1.0 / 2.0 GiB"):
        assert part in out
    assert max(map(len, out.splitlines())) <= command.PLAIN_WIDTH


def test_figures_as_json(watch, two, tmp_path):
    code, out, _ = watch(tmp_path / "ppo-42", tmp_path / "grpo-42", "--json")
    assert code == 0
    assert [(one["run"], one["position"]) for one in json.loads(out)["runs"]] == [("ppo-42", 3), ("grpo-42", 3)]


@pytest.mark.parametrize("width", [40, 80, 130, 200])
@pytest.mark.parametrize("height", [12, 24, 50])
def test_a_frame_fits_its_terminal(two, tmp_path, width, height):
    watched = Watched([tmp_path])
    watched.poll()
    console = Console(width=width, height=height, force_terminal=True, file=(screen := io.StringIO()), no_color=True)
    console.print(frame(watched, width, height))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= height
    assert "reward" in "\n".join(lines)


def test_plain_lines_follow_a_run_until_it_has_ended(watch, logs, row, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "SPARSE", 0.0)
    logs.append("ppo-42", row(1))
    logs.lock("ppo-42")

    def go_on():
        logs.append("ppo-42", row(2))
        logs.publish("ppo-42", method="ppo")
        logs.unlock("ppo-42")

    later = threading.Timer(0.5, go_on)
    later.start()
    page = tmp_path / "page.html"
    code, out, _ = watch(tmp_path / "ppo-42", "--every", "0.1", "--html", page)
    later.join()
    assert code == 0
    assert "finished" in page.read_text()
    assert 'http-equiv="refresh"' not in page.read_text()  # nothing more will come
    assert out.startswith("ppo-42 state running done 1/4 ETA 24 s")
    assert "state finished done 2/4" in out.splitlines()[-1]


def test_the_page_is_written_but_never_into_a_run(watch, two, tmp_path):
    page = tmp_path / "pages" / "curves.html"
    assert watch(tmp_path, "--once", "--quiet", "--html", page)[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    assert [path.name for path in page.parent.iterdir()] == ["curves.html"]
    code, _, err = watch(tmp_path, "--once", "--html", tmp_path / ".ppo-42.run" / "curves.html")
    assert code == 2
    assert "which holds only its own files" in err


def test_hostile_names_and_details_do_not_reach_the_terminal_or_the_page(watch, logs, row, tmp_path):
    name = "a\x1b[2J<script>alert(1)</script>".replace("/", "∕")
    logs.append(name, row(1))
    diagnosis = {"iteration": 1, "phase": "\x1b[2J", "not_finite": "<b>", "value": "nan", "offending_rows": []}
    (logs.folder(name) / "diagnosis.json").write_text(json.dumps(diagnosis))
    page = tmp_path / "page.html"
    code, out, _ = watch(tmp_path, "--once", "--html", page)
    assert code == 0
    assert "\x1b" not in out
    assert "\x1b" not in page.read_text()
    assert "<script" not in page.read_text()
    assert "<b>" not in page.read_text()


@pytest.mark.parametrize("form", ["--once", "--json"])
def test_one_frame_waits_for_no_run(watch, two, tmp_path, form):
    code, out, err = watch(tmp_path / "ppo-42", tmp_path / "pppo-42x", form)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: there is no run {tmp_path}/pppo-42x")
    assert f"Did you mean {tmp_path}/" in err


def test_a_name_that_can_never_be_a_run_is_one_line(watch, tmp_path):
    code, out, err = watch(tmp_path / "no" / "run", "--once")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no directory")
    assert len(err.splitlines()) == 1
