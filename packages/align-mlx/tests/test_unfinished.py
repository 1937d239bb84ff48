"""An unfinished run continues exactly where it was, and only as the same run."""

import os
import signal

import mlx.core as mx
import pytest
from pydantic import BaseModel

from align_contracts.console import runtime
from align_contracts.errors import ConfigError, InterruptedRun
from align_mlx import unfinished
from align_mlx.train_state import TrainState


class Settings(BaseModel):
    learning_rate: float = 0.5
    quiet: bool = runtime(False, "Show nothing.")


DEFAULT = Settings()


def start():
    return TrainState.start({"a": mx.zeros((3,))})


def train(run, state, steps, stop_at=None):
    """A loop of Adam steps on a gradient that depends on the iteration."""
    state.memory.setdefault("log", [])
    while state.iteration < steps:
        if state.iteration == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        run.check()
        state.update({"a": mx.array([1.0, -2.0, 0.1]) * (state.iteration + 1)}, 0.1, 1.0)
        state.iteration += 1
        state.memory["log"].append(state.iteration)
        run.save(state)


def go(out, settings=DEFAULT, *, steps=7, every=100, resume=True, stop_at=None, fail=False):
    """One process: give the state at the end, and whether it was continued."""
    state = start()
    with unfinished.keep(out, settings, {}, every=every) as run:
        continued = run.begin(state, resume=resume)
        at = state.iteration
        train(run, state, steps, stop_at)
        if fail:
            raise RuntimeError(f"continued {continued} at {at}")
    return state, at


def test_a_stopped_run_continues_to_the_same_result(tmp_path):
    plain, at = go(tmp_path / "one")
    assert at == 0
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRun) as error:
        go(tmp_path / "two", stop_at=4)
    assert error.value.exit_code == 128 + signal.SIGTERM
    assert "4 iterations" in str(error.value)
    assert signal.getsignal(signal.SIGTERM) == handler
    again, at = go(tmp_path / "two", Settings(quiet=True))
    assert at == 4
    assert again.params["a"].tolist() == plain.params["a"].tolist()
    assert again.memory["log"] == [1, 2, 3, 4, 5, 6, 7]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_continues_from_its_last_saved_state(tmp_path):
    with pytest.raises(RuntimeError):
        go(tmp_path / "one", steps=5, every=2, fail=True)
    assert go(tmp_path / "one", every=2)[1] == 4


def test_other_settings_are_refused(tmp_path):
    with pytest.raises(RuntimeError, match="continued False at 0"):
        go(tmp_path / "one", every=1, fail=True)
    with pytest.raises(ConfigError, match="settings learning_rate"):
        go(tmp_path / "one", Settings(learning_rate=0.25))
    with pytest.raises(RuntimeError, match="continued True at 7"):
        go(tmp_path / "one", every=1, fail=True)
    with pytest.raises(RuntimeError, match="continued False at 0"):
        go(tmp_path / "one", Settings(learning_rate=0.25), resume=False, fail=True)


def test_a_stop_before_the_loop_saves_nothing(tmp_path):
    def stopped():
        with unfinished.keep(tmp_path / "one", Settings(), {}, every=1) as run:
            os.kill(os.getpid(), signal.SIGINT)
            run.check()

    with pytest.raises(InterruptedRun):
        stopped()
    assert list(tmp_path.iterdir()) == []
