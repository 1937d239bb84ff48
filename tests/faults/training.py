"""A training run in miniature, by the real checkpoints: interrupted after every iteration, it keeps the last two."""

import contextlib
import json
from pathlib import Path

import mlx.core as mx

from align_contracts.console import runtime
from align_contracts.errors import InterruptedRun
from align_mlx import checkpoints
from align_mlx.settings import PassSettings, ResumeSettings
from align_mlx.train_state import TrainState
from align_mlx.training import training
from faults.operations import NAME, Operation

KEPT = 2
SIZE = 10_000
LOG = "train.jsonl"


class Settings(PassSettings, ResumeSettings):
    """Settings of such a run."""

    out: Path = runtime(..., "Where.")
    overwrite: bool = runtime(False, "Replace.")


def train_until(folder: Path, iteration: int) -> None:
    """Go on with the run in a folder up to an iteration, with a checkpoint after each."""
    config = Settings(out=folder / NAME, checkpoint_every=1, keep_checkpoints=KEPT)
    run_on = training(config, "policy", producer="align-mlx", inputs={})
    with contextlib.suppress(InterruptedRun), run_on as (_, run):
        state = TrainState.start({"w": mx.zeros((SIZE,))})
        run.begin(state, iteration)
        while state.iteration < iteration:
            state.iteration += 1
            state.params = {"w": mx.full((SIZE,), float(state.iteration))}
            state.memory = {"iteration": state.iteration}
            run.log(LOG, {"iteration": state.iteration})
            run.reached(state)
        raise InterruptedRun("enough")


def trained_until(folder: Path) -> int | None:
    """Give the iteration of the newest checkpoint; all of it is verified and agrees.

    Raises:
        VerificationError: no checkpoint can be trusted.
        ValueError: one is damaged, or its parts are of different iterations.
    """
    run = folder / f".{NAME}.run"
    if (found := checkpoints.newest(run)) is None:
        return None
    path, record, wrong = found
    if wrong:
        raise ValueError(f"a damaged checkpoint: {wrong[0]}")
    state = TrainState.start({"w": mx.zeros((SIZE,))})
    state.restore(path)
    w = state.params["w"]
    size, _ = record.live[LOG]
    rows = [json.loads(line)["iteration"] for line in (run / LOG).read_bytes()[:size].splitlines()]
    told = {record.iteration, state.memory["iteration"], int(w.min().item()), int(w.max().item()), len(rows)}
    if told != {state.iteration} or rows != list(range(1, state.iteration + 1)):
        raise ValueError(f"its parts are of iterations {told | {state.iteration}}")
    return state.iteration


def strays(folder: Path) -> list[str]:
    """Name what does not belong to an unfinished run that nobody is at."""
    run = folder / f".{NAME}.run"
    names = [path.name for path in folder.iterdir() if path != run]
    names += [path.name for path in run.iterdir() if path.name not in (LOG, checkpoints.CHECKPOINTS)]
    numbered = checkpoints.numbered(run / checkpoints.CHECKPOINTS)
    return names + [path.name for path in (run / checkpoints.CHECKPOINTS).iterdir() if path not in numbered[:KEPT]]


CHECKPOINT = Operation("checkpoint and rotate", train_until, trained_until, strays, ahead=True)
