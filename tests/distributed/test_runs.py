"""Whole runs of two processes: one writer, one end for both, and a continuation that is the same to the last bit."""

import json
import signal
import time
from pathlib import Path
from subprocess import Popen

import mlx.core as mx
import numpy as np
import pytest

from align_contracts import Artifact, open_artifact
from align_mlx import checkpoints
from distributed.ring import Ended, ended, ring, started

pytestmark = pytest.mark.skipif(not mx.distributed.is_available("ring"), reason="this MLX has no ring backend")

RUN = """
import sys
from pathlib import Path
from align_contracts.errors import AlignError
from align_rl import run as rl
from align_rm import train as rm
from align_sft import train as sft
from distributed import world_of_toys as toys
{before}
try:
    sys.exit({run})
except AlignError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def program(kind: str, store: Path, out: Path, before: str = "", **settings: object) -> tuple[str, str]:
    """Give the arguments of a Python that trains."""
    paths = f"Path({str(store)!r}), Path({str(out)!r})"
    config = f"toys.rl_config({kind!r}, {paths}, **{settings})" if kind in ("ppo", "grpo") else (
        f"toys.{kind}_config({paths}, **{settings})"
    )  # fmt: skip
    return "-c", RUN.format(before=before, run=f"{'rl' if kind in ('ppo', 'grpo') else kind}.run({config})")


def both(found: list[Ended], code: int) -> list[Ended]:
    assert [one.code for one in found] == [code] * 2, [one.err for one in found]
    assert not any("Traceback" in one.err for one in found)
    return found


@pytest.mark.parametrize("kind", ["sft", "rm", "ppo", "grpo"])
def test_a_run_of_two_processes_makes_the_artifact_of_one(store, tmp_path, kind) -> None:
    settings = {"max_steps": 3} if kind in ("sft", "rm") else {}
    one, two = tmp_path / "one", tmp_path / "two"
    assert ring(*program(kind, store, one, **settings), size=1)[0].code == 0
    both(ring(*program(kind, store, two, **settings)), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]  # no lock, run folder or second copy left
    a, b = open_artifact(one, deep=True), open_artifact(two, deep=True)
    assert b.manifest.extensions.pop("processes") == 2
    assert "processes" not in a.manifest.extensions
    assert [file.path for file in a.manifest.files] == [file.path for file in b.manifest.files]
    for name, value in mx.load(str(a.file("adapter"))).items():
        mine, theirs = np.array(value), np.array(mx.load(str(b.file("adapter")))[name])
        # Adam divides a gradient by its own size, so a step is the learning rate wherever the gradient's sign is sure:
        # rounding of 1e-5 of the largest element moves the others by some 1e-3 of a step, and a step is 3e-3.
        np.testing.assert_allclose(theirs, mine, atol=3 * 3e-3 * 5e-3, err_msg=name)
    log = [open_artifact(path).read_jsonl("log") for path in (one, two)]
    assert len(log[0]) == len(log[1]) == 3  # each row once
    key = "loss" if kind in ("sft", "rm") else "reward_mean"
    np.testing.assert_allclose([row[key] for row in log[1]], [row[key] for row in log[0]], rtol=1e-3)


SPOIL = """
import os
import mlx.core as mx
from align_sft import gradient
if os.environ["MLX_RANK"] == "1":
    honest, calls = gradient.stepping.joined, []
    def spoilt(world, loss, grads, params):
        calls.append(1)
        return honest(world, loss, {**grads, **{k: grads[k] * mx.nan for k in list(grads)[:1]}} if len(calls) == 2 else grads, params)
    gradient.stepping.joined = spoilt
"""  # noqa: E501 - a program


def test_a_gradient_that_one_process_spoils_stops_both(store, tmp_path) -> None:
    """As a flipped bit in one machine's memory: nobody's rows are to blame, both stop before the step."""
    out = tmp_path / "spoilt"
    first, second = both(ring(*program("sft", store, out, SPOIL, max_steps=4)), 4)
    assert "the gradient is not finite at step 2" in first.err
    assert not out.exists()
    run = tmp_path / ".spoilt.run"
    assert checkpoints.numbered(run / "checkpoints")[0].name == "000001"
    assert json.loads((run / "diagnosis.json").read_text())["step"] == 2
    assert "error" not in second.err  # told once, by the one whose files are kept


LONG = {"sft": {"epochs": 12}, "grpo": {"num_iterations": 10, "eval_every": 5}}
"""Settings of runs long enough to be disturbed."""


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory) -> dict[str, Artifact]:
    folder = tmp_path_factory.mktemp("undisturbed")
    for kind, long in LONG.items():
        both(ring(*program(kind, store, folder / kind, **long)), 0)
    return {kind: open_artifact(folder / kind) for kind in LONG}


@pytest.mark.parametrize(
    ("signum", "to", "kind", "codes"),
    [
        (signal.SIGTERM, 1, "sft", (143, 143)),
        (signal.SIGTERM, 0, "grpo", (143, 143)),
        (signal.SIGKILL, 1, "grpo", (5, -signal.SIGKILL)),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else None,
)
def test_a_signal_to_one_stops_both_and_the_rest_is_the_same_to_the_last_bit(
    store, tmp_path, undisturbed, signum, to, kind, codes
) -> None:
    command = program(kind, store, tmp_path / "halted", **LONG[kind])
    with started([command, command]) as processes:
        wait_for_rows(tmp_path / ".halted.run" / "train.jsonl", 3, processes)
        processes[to].send_signal(signum)
        first, second = found = ended(processes)
    assert tuple(one.code for one in found) == codes, [one.err for one in found]
    said = {143: "Run the same command again to continue", 5: "another process of the run has gone"}[codes[0]]
    assert first.err.count("error: ") == 1
    assert said in first.err
    assert "error: " not in second.err
    assert not (tmp_path / "halted").exists()
    done = int(checkpoints.numbered(tmp_path / ".halted.run" / "checkpoints")[0].name)
    assert done >= 3
    both(ring(*command), 0)
    halted, whole = open_artifact(tmp_path / "halted"), undisturbed[kind]
    assert halted.file("adapter").read_bytes() == whole.file("adapter").read_bytes()
    assert len(halted.read_jsonl("log")) == len(whole.read_jsonl("log"))


def test_one_process_continues_what_two_began_and_says_so(store, tmp_path) -> None:
    command = program("sft", store, tmp_path / "out", epochs=12)
    with started([command, command]) as processes:
        wait_for_rows(tmp_path / ".out.run" / "train.jsonl", 2, processes)
        processes[0].send_signal(signal.SIGINT)
        both(ended(processes), 128 + signal.SIGINT)
    (found,) = ring(*command, size=1)
    assert found.code == 0, found.err
    assert "the run is continued by another program (processes 2 → absent): last bits may differ" in found.err
    made_by = open_artifact(tmp_path / "out").manifest.extensions["made_by"]
    assert [program.get("processes") for program in made_by] == [2, None]


def test_processes_with_other_settings_or_inputs_are_refused(store, tmp_path) -> None:
    out = tmp_path / "out"
    with started([program("sft", store, out, seed=seed) for seed in (1, 2)]) as processes:
        first, second = both(ended(processes), 2)
    assert "process 2 of 2 was given other settings or inputs than the first" in first.err
    assert "expected settings seed 1, got settings seed 2" in first.err
    assert "error" not in second.err
    assert not list(tmp_path.iterdir())


def wait_for_rows(log: Path, rows: int, processes: list["Popen[str]"]) -> None:
    """Wait until a log has so many rows."""
    until = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) >= rows):
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes), [one.err for one in ended(processes)]
        time.sleep(0.02)
