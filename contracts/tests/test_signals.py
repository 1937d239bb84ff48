"""The first signal is a wish, the second one an end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from align_contracts import signals
from align_contracts.errors import InterruptedRun

PATIENT = """
import os, signal, time
from align_contracts import signals
with signals.listening() as listener:
    listener.patient = True
    os.kill(os.getpid(), signal.{first})
    os.kill(os.getpid(), signal.{first})  # handed on by a parent as well
    print("goes on", flush=True)
    time.sleep(signals.TWICE + 0.1)
    os.kill(os.getpid(), signal.{second})
    print("must not be reached", flush=True)
"""


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_work_stops_where_it_looks(number, capfd):
    with signals.listening() as listener:
        listener.patient = True
        signals.check()
        os.kill(os.getpid(), number)
        with pytest.raises(InterruptedRun) as error:
            signals.check()
    assert error.value.exit_code == 128 + number
    assert "a second signal stops at once" in capfd.readouterr().err
    signals.check()  # nothing is left of it for the next run


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGTERM")])
def test_the_second_signal_ends_the_process_at_once(first, second):
    command = [sys.executable, "-c", PATIENT.format(first=first, second=second)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.stdout == "goes on\n"
    assert done.returncode == -getattr(signal, second)


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.listening() as listener:
            os.kill(os.getpid(), signal.SIGHUP)
            signals.check()
        assert listener.heard == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_is_heard_though_nobody_reads_what_is_said():
    """As when the terminal was closed, which is what sends SIGHUP."""
    reads, writes = os.pipe()
    os.close(reads)
    code = PATIENT.format(first="SIGHUP", second="SIGTERM")
    done = subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, stderr=writes, timeout=60)
    os.close(writes)
    assert done.stdout == b"goes on\n"
    assert done.returncode == -signal.SIGTERM


def test_in_another_thread_nothing_changes():
    handlers = []

    def listen():
        with signals.listening():
            handlers.extend(signal.getsignal(number) for number in signals.SIGNALS)

    before = [signal.getsignal(number) for number in signals.SIGNALS]
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert handlers == before


class Panic(BaseException):
    """As of a tokenizer written in Rust."""


@pytest.mark.parametrize("kind", [ValueError, Panic])
def test_an_error_that_an_early_signal_brought_about_is_the_interruption(kind):
    def load():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            raise kind("the tokenizer cannot be read") from error

    with pytest.raises(InterruptedRun, match="stopped by SIGTERM") as stop, signals.listening():
        load()
    assert stop.value.exit_code == 143


def test_what_takes_an_early_stop_for_an_error_does_not_get_to_see_it():
    def swallow():
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    with pytest.raises(InterruptedRun), signals.listening():
        swallow()


def test_a_stop_in_generated_code_keeps_its_exit_code():
    """Classes are often made by `exec`; a KeyboardInterrupt in one would end the process by SIGINT."""
    code = """
import os, signal, sys
from align_contracts import signals
from align_contracts.errors import InterruptedRun
try:
    with signals.listening():
        exec("os.kill(os.getpid(), signal.SIGTERM)")
except InterruptedRun as error:
    sys.exit(error.exit_code)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 143


def test_a_moment_is_not_cut_in_two():
    done = []

    def work():
        with signals.a_moment():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("first half")
            done.append("second half")
        done.append("later")

    with pytest.raises(InterruptedRun) as stop, signals.listening():
        work()
    assert done == ["first half", "second half"]
    assert stop.value.exit_code == 143


def test_a_moment_of_patient_work_stops_nothing(capfd):
    with signals.listening() as listener:
        listener.patient = True
        with signals.a_moment():
            os.kill(os.getpid(), signal.SIGTERM)
    assert "the state is being saved" in capfd.readouterr().err
