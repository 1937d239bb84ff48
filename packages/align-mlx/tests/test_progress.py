import io

import pytest
from rich.console import Console

from align_mlx import progress
from align_mlx.progress import Meter, doing


@pytest.fixture
def clock(monkeypatch):
    """Set the time, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_count_steps_and_shorten_numbers(capsys):
    with Meter("ppo seed 42", 3, unit="iteration", every=0.0) as meter:
        meter.advance(reward=1.23456789)
        meter.advance(2, kl=7)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("ppo seed 42: iteration 1/3  ")
    assert lines[0].endswith("reward 1.235")
    assert "iteration 3/3" in lines[1]
    assert lines[1].endswith("reward 1.235  kl 7")  # a fact stays until there is a newer one


def test_only_the_last_line_before_time_is_up(capsys):
    with Meter("work", 5, every=1000.0) as meter:
        for _ in range(5):
            meter.advance()
    (line,) = capsys.readouterr().err.splitlines()
    assert "step 5/5" in line


def test_quiet_says_nothing_but_counts(capsys):
    with Meter("work", 2, quiet=True, every=0.0) as meter:
        meter.advance(2)
    assert meter.done == 2
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_the_time_left_is_that_of_this_process_s_own_steps(clock, capsys):
    with Meter("sft", every=0.0) as meter:
        clock[0] += 100.0  # loading
        meter.begin(110, 50)  # 50 done by an earlier process
        assert meter.left is None
        clock[0] += 60.0  # the first step compiles
        meter.advance()
        assert meter.left is None
        for _ in range(9):
            clock[0] += 3.0
            meter.advance()
            assert meter.left == pytest.approx(3.0 * (110 - meter.done))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "sft: step 51/110  2:40"
    assert lines[-1] == "sft: step 60/110  3:07, 2:30 left"


def test_the_pace_is_the_recent_one(clock):
    with Meter("sft", 1000, quiet=True) as meter:
        for seconds in (1.0,) * 100 + (5.0,) * progress.RECENT:
            clock[0] += seconds
            meter.advance()
    assert meter.left == pytest.approx(850 * 5.0)


def test_plain_lines_become_rarer(clock, capsys):
    with Meter("ppo seed 42", 100_000, every=10.0) as meter:
        for _ in range(86_400):  # a day, a step a second
            clock[0] += 1.0
            meter.advance()
    # One in 10 s for 1000 s, then one whenever the time has grown by 1/99: 100 + 99 · ln 86.4 = 541 lines, less the
    # whole seconds that a line waits for.
    assert 450 < len(capsys.readouterr().err.splitlines()) <= 541


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_shows_stage_step_time_left_and_facts(monkeypatch, clock, no_color, coloured):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    screen = io.StringIO()
    console = Console(force_terminal=True, width=100, file=screen)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with Meter("ppo seed 42", unit="iteration") as meter:
        doing("loading the base", aloud=True)
        clock[0] += 4.0
        meter._bar.refresh()
        meter.begin(4)
        meter.advance()
        clock[0] += 61.0
        meter.advance(reward=1.5, KL="0.031 / 0.05", memory="1.2 GiB")
        doing("rollout")
        clock[0] += 0.4
        meter._bar.refresh()
    shown = screen.getvalue()
    for part in (
        *("ppo seed 42", "loading the base 0:04", "iteration 2/4", "2:02 left"),
        "  reward 1.5  KL 0.031 / 0.05  memory 1.2 GiB",
    ):
        assert part in shown
    assert ("\x1b[36m" in shown) == coloured  # cyan
    assert "rollout" not in shown  # what takes a moment would only flicker


def test_a_plain_log_hears_what_is_done_before_the_first_step_and_after_the_last(capsys):
    with Meter("rm", every=1000.0) as meter:
        doing("loading the base", aloud=True)
        doing("a step's part")
        meter.begin(1)
        meter.advance()
        doing("calibrating", aloud=True)
    doing("nobody listens", aloud=True)
    assert capsys.readouterr().err.splitlines() == ["rm: loading the base", "rm: step 1/1  0:00", "rm: calibrating"]


def test_a_quiet_meter_hears_and_says_nothing(capsys):
    with Meter("rm", quiet=True):
        doing("loading the base", aloud=True)
    assert capsys.readouterr().err == ""


def test_a_meter_inside_another_has_a_row_while_it_is_open(monkeypatch):
    screen = io.StringIO()
    console = Console(force_terminal=True, width=100, file=screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    with Meter("rm", 2) as outer:
        with Meter("scale", 8, unit="prompt") as inner:
            inner.advance(3)
            doing("decoding")  # the inner one's
            outer._bar.refresh()
            rows = [task.description for task in outer._bar.tasks]
            assert [task.fields["now"] and task.fields["now"][0] for task in outer._bar.tasks] == [None, "decoding"]
        assert rows == ["rm", "scale"]
        assert [task.description for task in outer._bar.tasks] == ["rm"]
    assert "prompt 3/8" in screen.getvalue()


def test_lines_of_a_log_are_never_broken(monkeypatch, capsys):
    """Without a terminal rich takes it for one of 80 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    with Meter("ppo seed 42", 1, unit="iteration") as meter:
        meter.advance(reward=1.5, KL="0.0312 (target 0.05)", wins="52%", memory="1.2 GiB", more="x" * 100)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_dumb_terminal_gets_plain_lines(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(force_terminal=True))
    with Meter("work", 1) as meter:
        meter.advance()
    assert capsys.readouterr().err.startswith("work: step 1/1")
