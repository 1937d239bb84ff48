"""Eight processes after one place at the same time: exactly one gets it, and the others are told so."""

import multiprocessing
import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import mlx.core as mx

from align_contracts import Draft, open_artifact, publish
from align_contracts.durable import locked
from align_contracts.errors import LockedError, PreflightError
from align_mlx.train_state import TrainState
from align_mlx.training import training
from faults.children import ask
from faults.operations import safetensors
from faults.row import BrokenPromiseError, Count, Row, sentence, tally
from faults.training import LOG, SIZE, Settings

WRITERS = 8
PROCESSES = multiprocessing.get_context("fork")
WON, LOST = "won", "lost"
Write = Callable[[Path, int], None]


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Let the writers race `tries` times for an artifact and a fifth as often for a run; then let holders die."""
    found = _race(scratch / "publish", tries, seed, _publish)
    found += _race(scratch / "train", max(1, tries // 5), seed, _train)
    found += [sentence("a dead holder", lambda i=i: _outlive(scratch / f"dead-{i}")) for i in range(WRITERS)]
    return tally(found)


def _race(folder: Path, rounds: int, seed: int, write: Write) -> list[str | None]:
    """Start the writers once; all begin each round together."""
    folder.mkdir()
    barrier, results = PROCESSES.Barrier(WRITERS), PROCESSES.Queue()
    writers = [
        PROCESSES.Process(target=_writer, args=(folder, rounds, seed, number, write, barrier, results))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    said: list[dict[int, str]] = [{} for _ in range(rounds)]
    for _ in range(rounds * WRITERS):
        number, round_number, words = results.get(timeout=120)
        said[round_number][number] = words
    for writer in writers:
        writer.join()
    return [
        sentence(f"{folder.name}, round {i}", lambda i=i: _one_winner(_target(folder, i), said[i]))
        for i in range(rounds)
    ]


def _target(folder: Path, i: int) -> Path:
    return folder / f"round-{i}"


def _writer(folder: Path, rounds: int, seed: int, number: int, write: Write, barrier: Barrier, results: Any) -> None:
    """Be a writer."""
    randomness = random.Random(f"{seed} {number}")
    for i in range(rounds):
        barrier.wait()
        time.sleep(randomness.choice((0.0, 0.0, 0.001 * randomness.random())))
        try:
            write(_target(folder, i), number)
            words = WON
        except PreflightError as error:  # LockedError is one
            words = f"{LOST}: {error}"
        except BaseException as error:
            words = f"{type(error).__name__}: {error}"
        results.put((number, i, words))


def _one_winner(target: Path, said: dict[int, str]) -> None:
    """One writer won, and what is there is its own; each other one was refused, naming the target."""
    winners = [number for number, words in said.items() if words == WON]
    if len(winners) != 1:
        raise BrokenPromiseError(f"writers {winners} won; said was {'; '.join(sorted(set(said.values())))[:300]}")
    if wrong := [words for words in said.values() if words != WON and not re.match(f"{LOST}: .*{target.name}", words)]:
        raise BrokenPromiseError(f"a loser was told {wrong[0]}")
    if (owner := ask(lambda: _owner(target))) != winners[0]:
        raise BrokenPromiseError(f"writer {winners[0]} won, and what is there is of writer {owner}")


def _publish(target: Path, number: int) -> None:
    with publish(target, "report", producer="align-contracts", config={}) as draft:
        _fill(draft, number)


def _train(target: Path, number: int) -> None:
    """Train for one iteration, and publish."""
    config = Settings(out=target, checkpoint_every=1)
    with training(config, "report", producer="align-mlx", inputs={}) as (draft, run):
        state = TrainState.start({"w": mx.zeros((SIZE,))})
        run.begin(state, 1)
        run.log(LOG, {"writer": number})
        state.iteration += 1
        run.reached(state)
        run.hand_over(draft, LOG, role="log")
        _fill(draft, number)


def _fill(draft: Draft, number: int) -> None:
    draft.details = {"runs": number, "methods": {}}
    draft.file("weights.safetensors", role="weights").write_bytes(safetensors(number))


def _owner(target: Path) -> int:
    """Tell whose artifact it is; all of it is of the same writer, and no writer has left anything else."""
    artifact = open_artifact(target, deep=True)
    number = int(artifact.details.runs)
    log = [{"writer": number}] if any(record.role == "log" for record in artifact.manifest.files) else []
    if artifact.file("weights").read_bytes() != safetensors(number) or (log and artifact.read_jsonl("log") != log):
        raise BrokenPromiseError("files of two writers are mixed")
    if hidden := sorted(path.name for path in target.parent.glob(f".*{target.name}.*")):
        raise BrokenPromiseError(f"left over: {', '.join(hidden)}")
    return number


def _outlive(folder: Path) -> None:
    """A lock that is held is refused with its holder's name, and free as soon as the holder is dead."""
    folder.mkdir()
    target, read, write = folder / "x", *os.pipe()
    if (holder := os.fork()) == 0:
        with locked(target):
            os.write(write, b".")
            time.sleep(600)
        os._exit(0)
    os.read(read, 1)
    try:
        _publish(target, 1)
        said = "nothing"
    except LockedError as error:
        said = str(error)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    if f"pid {holder} " not in said:
        raise BrokenPromiseError(f"process {holder} held the lock, and the next one was told {said}")
    _publish(target, 2)
    if (owner := _owner(target)) != 2:
        raise BrokenPromiseError(f"after the holder's death the artifact is of writer {owner}")


ROWS = (Row("writers", "eight at once after one place: exactly one wins, the dead hold nothing", 50, run),)
