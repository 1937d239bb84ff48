import json

import pytest

from align_mlx.diagnosis import FILE
from align_rl.dashboard.runs import WatchedRun
from align_rl.dashboard.state import DIAGNOSIS, duration, state_of


def state(run):
    run.poll()
    return run.state()


def test_a_run_from_before_its_start_to_its_publication(logs, row, tmp_path):
    run = WatchedRun(tmp_path / "ppo-42")
    assert state(run).word == "waiting"
    logs.lock("ppo-42")
    assert state(run).word == "starting"
    logs.append("ppo-42", row(1))
    assert state(run).word == "running"
    assert not state(run).ended
    logs.publish("ppo-42", method="ppo", seed=42)
    logs.unlock("ppo-42")
    assert state(run).word == "finished"
    assert run.position == 1  # its log has moved with it


def test_stopped_has_no_lock_and_killed_leaves_one(logs, row, tmp_path, dead):
    run = WatchedRun(tmp_path / "ppo-42")
    logs.append("ppo-42", row(1))
    assert state(run).word == "stopped"
    assert "the same command continues it" in run.state().detail
    logs.lock("ppo-42", pid=dead)
    assert state(run).word == "killed"


@pytest.mark.parametrize(
    ("age", "pace", "word"), [(99.0, 8.0, "running"), (101.0, 8.0, "silent"), (101.0, 9.0, "running")]
)
def test_silence_is_told_from_the_usual_pace(logs, tmp_path, age, pace, word):
    """Silent after 60 s and five usual iterations: 100 s at 8 s each, 105 s at 9 s."""
    logs.lock("ppo-42")
    found = state_of(tmp_path / "ppo-42", logs.folder("ppo-42"), lines=3, age=age, pace=pace)
    assert found.word == word


def test_of_another_machine_only_the_log_tells(logs, tmp_path):
    (tmp_path / "..ppo-42.run.lock").write_text("pid 1 on elsewhere.example since 2026-11-21 12:00:00 UTC\n")
    folder = logs.folder("ppo-42")
    assert state_of(tmp_path / "ppo-42", folder, lines=3, age=50.0, pace=1.0).word == "running"
    assert state_of(tmp_path / "ppo-42", folder, lines=3, age=70.0, pace=1.0).word == "killed"


def test_the_diagnosis_is_looked_for_under_its_name():
    assert DIAGNOSIS == FILE


WRITTEN = {"iteration": 7, "phase": "gradient", "not_finite": "loss", "value": "nan", "offending_rows": [{"a": 1}]}


def test_a_run_that_diverged_says_what_was_not_finite(logs, row, tmp_path):
    logs.append("grpo-1", row(6))
    (logs.folder("grpo-1") / "diagnosis.json").write_text(json.dumps(WRITTEN))
    run = WatchedRun(tmp_path / "grpo-1")
    assert state(run).word == "diverged"
    assert run.state().detail == "loss was nan in the gradient of iteration 7, 1 row to blame"
    logs.lock("grpo-1")  # it goes on without those rows
    assert state(run).word == "running"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"iteration": 1, "offending_rows": 3}'])
def test_a_damaged_diagnosis_is_pointed_to(logs, row, tmp_path, text):
    logs.append("grpo-1", row(1))
    (logs.folder("grpo-1") / "diagnosis.json").write_text(text)
    assert state(WatchedRun(tmp_path / "grpo-1")).detail == "see diagnosis.json"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (7.9, "7 s"), (200, "3 min 20 s"), (18_720, "5 h 12 min"), (183_600, "2 d 3 h")],
)
def test_durations_have_their_two_largest_units(seconds, text):
    assert duration(seconds) == text
