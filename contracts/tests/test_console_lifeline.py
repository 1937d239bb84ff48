"""A console script ends when the pipe that its pipeline holds is closed, and only then."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from align_contracts.console.lifeline import LIFELINE

HOLD = "from align_contracts.console import lifeline; lifeline.hold(); import os, time; print(os.environ.get({!r}))\n"


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """The open ends of a pipe, reading and writing."""
    both = list(os.pipe())
    yield both
    for one in both:
        os.close(one)


def script(body: str, reading: int, number: str) -> subprocess.Popen[str]:
    env = {**os.environ, LIFELINE: number}
    command = [sys.executable, "-c", HOLD.format(LIFELINE) + body]
    return subprocess.Popen(command, env=env, pass_fds=(reading,), stdout=subprocess.PIPE, text=True)


def test_it_lives_while_the_pipe_is_open_and_is_killed_when_it_is_closed(ends):
    reading, writing = ends
    process = script("time.sleep(0.5); print('lives', flush=True); time.sleep(60)", reading, str(reading))
    assert process.stdout.readline() == "None\n"  # its own children must not take the number for theirs
    assert process.stdout.readline() == "lives\n"
    ends.remove(writing)
    os.close(writing)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("number", ["", "none", "987"])
def test_without_a_pipe_nothing_happens(ends, number):
    process = script("time.sleep(0.3); print('ends')", ends[0], number)
    assert process.communicate(timeout=20)[0].endswith("ends\n")
    assert process.returncode == 0
