"""The seam between processes, on two real ones: what they exchange, and how one's end is the end of all."""

import json
import os
import signal

import mlx.core as mx
import numpy as np
import pytest

from align_contracts.errors import ConfigError, PreflightError
from align_mlx.batching import own_rows
from align_mlx.chat import Tokens
from align_mlx.plan import smallest
from align_mlx.world import ALONE, World, connected
from distributed.ring import Ended, ended, ring, started

pytestmark = pytest.mark.skipif(not mx.distributed.is_available("ring"), reason="this MLX has no ring backend")

HEAD = """
import json, math, os, signal, sys, time
import align_mlx
import mlx.core as mx
import numpy as np
from align_contracts.errors import AlignError, DivergedError, InterruptedRun
from align_mlx.world import connected
def main():
    with connected() as world:
        body(world)
"""
TAIL = """
try:
    main()
except AlignError as error:
    print("error:", error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def program(body: str) -> tuple[str, str]:
    """Give the arguments of a Python that is one of the processes and does this."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return "-c", f"{HEAD}\ndef body(world):\n{lines}\n{TAIL}"


def told(one: Ended) -> list[str]:
    """Give the lines of a process's errors, but for what it waited for and what the ring itself says."""
    return [line for line in one.err.splitlines() if not line.startswith(("note: waiting", "[ring]"))]


EXCHANGE = """
like = {"b": mx.zeros((2,)), "a": mx.zeros((1, 3))}
mine = {"b": mx.array([1.0, 2.0])} if world.rank else {"a": mx.array([[1.0, 2.0, 1e8]]), "b": mx.array([0.5, 0.25])}
total = world.total(mine, like)
arrays = world.gather_arrays("arrays", [np.arange(world.rank + 1), np.full((2, world.rank), 1e-300)])
found = {
    "place": [world.rank, world.size, world.writes],
    "share": world.share(["p", "q", "r"]),
    "whole": world.whole(world.gather("items", world.share([10, 11, 12]))),
    "total": {name: array.tolist() for name, array in total.items()},
    "arrays": [[one.tolist() for one in part] for part in arrays],
    "dtypes": [str(one.dtype) for one in arrays[1]],
    "sums": world.sums("numbers", {"loss": 1.5, "top": world.rank} if world.rank else {"loss": 0.25}, largest="top"),
    "nan": [math.isnan(x) for x in world.gather("nan", math.nan if world.rank else 1.0)],
    "first": world.first("bytes", bytes([7 + world.rank]) * 3).hex(),
}
print(json.dumps(found))
"""


def test_two_processes_know_the_same() -> None:
    first, second = (json.loads(one.out) for one in ring(*program(EXCHANGE)))
    assert first.pop("place") == [0, 2, True]
    assert second.pop("place") == [1, 2, False]
    assert (first.pop("share"), second.pop("share")) == (["p", "r"], ["q"])
    assert first == second
    assert first["whole"] == [10, 11, 12]
    assert first["total"] == {"a": [[1.0, 2.0, 1e8]], "b": [1.5, 2.25]}
    assert first["arrays"] == [[[0], [[], []]], [[0, 1], [[1e-300], [1e-300]]]]  # fp64: not rounded on the way
    assert first["dtypes"] == ["int64", "float64"]
    assert first["sums"] == {"loss": 1.75, "top": 1.0}
    assert first["nan"] == [False, True]
    assert first["first"] == "070707"


def test_three_processes_add_up_in_their_order() -> None:
    # 1 + 2²⁵ − 2²⁵ in fp32: (1 + 2²⁵) − 2²⁵ = 0, because 1 is lost beside 2²⁵; in any other order it is 1.
    body = """
mine = {"x": mx.array([[1.0, 2.0**25, -(2.0**25)][world.rank]])}
print(world.total(mine, mine)["x"].item())"""
    assert [one.out.strip() for one in ring(*program(body), size=3)] == ["0.0", "0.0", "0.0"]


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ('DivergedError("the loss is not finite", do="Look at row p7")', 4, "the loss is not finite. Look at row p7"),
        ("InterruptedRun('stopped', signum=15)", 143, "stopped"),
    ],
)
def test_an_error_of_one_process_ends_both_with_its_exit_code_and_is_told_once(
    error: str, code: int, said: str, rank: int
) -> None:
    first, second = ring(*program(f'if world.rank == {rank}: raise {error}\nworld.gather("work", 1)'))
    assert (first.code, second.code) == (code, code)
    by = "process 2 of 2 has stopped: " if rank == 1 and code == 4 else ""
    assert told(first) == [f"error: {by}{said}"]
    assert told(second) == []


def test_an_error_of_all_is_told_once() -> None:
    """As a number that is not finite in what all of them know."""
    first, second = ring(*program('raise DivergedError(f"not finite; see the folder of process {world.rank}")'))
    assert (first.code, second.code) == (4, 4)
    assert told(first) == ["error: not finite; see the folder of process 0"]
    assert told(second) == []


def test_two_errors_are_two() -> None:
    body = 'raise DivergedError("not finite") if world.rank else InterruptedRun("stopped", signum=15)'
    first, second = ring(*program(body))
    assert (first.code, second.code) == (143, 4)
    assert (told(first), told(second)) == (["error: stopped"], ["error: not finite"])


def test_a_mistake_of_the_program_shows_where_it_was_made() -> None:
    first, second = ring(*program('if world.rank == 1: raise ZeroDivisionError("by hand")\nworld.gather("work", 1)'))
    assert (first.code, second.code) == (5, 1)
    assert told(first) == ["error: process 2 of 2 has stopped: by hand"]
    assert "Traceback" in second.err


def test_processes_stop_when_their_launcher_is_killed() -> None:
    """`mlx.launch` holds the other end of their input; SIGTERM ends it without a word to them."""
    reading, writing = os.pipe()
    body = 'world.gather("begin", 1)\nprint("here", flush=True)\ntime.sleep(100)'
    with started([program(body)] * 2, stdin=reading) as processes:
        os.close(reading)
        assert [process.stdout.readline() for process in processes if process.stdout] == ["here\n"] * 2
        os.close(writing)
        assert [one.code for one in ended(processes)] == [-signal.SIGTERM] * 2


def test_a_process_that_dies_is_noticed() -> None:
    first, second = ring(*program('if world.rank == 1: os._exit(9)\nworld.gather("work", 1)'))
    assert (first.code, second.code) == (5, 9)
    assert "another process of the run has gone" in first.err


def test_a_process_that_says_nothing_is_not_waited_for_for_ever() -> None:
    body = 'world.gather("begin", 1)\nif world.rank == 1: os.kill(os.getpid(), signal.SIGSTOP)\nworld.gather("work", 1)'
    with started([program(body)] * 2, {"ALIGN_PEER_SECONDS": "2"}) as (first, _):
        (found,) = ended([first])
    assert found.code == 5
    assert "another process has said nothing for 2 s (ALIGN_PEER_SECONDS)" in found.err


def test_processes_at_different_places_stop() -> None:
    first, second = ring(*program('world.gather(f"place {world.rank}", 1)'))
    assert (first.code, second.code) == (5, 5)
    (error,) = told(first)
    assert "expected place 0, got place 0, place 1" in error
    assert told(second) == []


def test_a_process_whose_fellows_do_not_come_gives_up() -> None:
    with started([program("pass"), ("-c", "import time; time.sleep(60)")], {"ALIGN_PEER_SECONDS": "2"}) as (first, _):
        (found,) = ended([first])
    assert found.code == -signal.SIGALRM
    assert "waiting for the other processes of the run, at most 2 s" in found.err


def test_a_launcher_of_one_process_makes_no_world(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hosts").write_text("")  # what mlx.launch -n 1 gives
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "hosts"))
    with connected() as world:
        assert world is ALONE


@pytest.mark.parametrize("rank", ["OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_the_only_task_of_a_scheduler_is_alone(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rank, "0")
    monkeypatch.setenv(rank.replace("COMM_WORLD_RANK", "COMM_WORLD_SIZE").replace("PMI_RANK", "PMI_SIZE"), "1")
    with connected() as world:
        assert world is ALONE


def test_others_that_cannot_be_reached_are_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**_: object) -> None:
        raise RuntimeError("nobody answers")

    monkeypatch.setattr(mx.distributed, "init", nobody)
    monkeypatch.setenv("MLX_RANK", "1")
    with pytest.raises(PreflightError, match=r"nobody answers.*MLX_RANK 1, one of several.*env -u MLX_RANK"):
        connected().__enter__()


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_the_patience_is_a_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("ALIGN_PEER_SECONDS", text)
    with pytest.raises(ConfigError, match=f"ALIGN_PEER_SECONDS: expected a number of seconds above 0, got '{text}'"):
        connected().__enter__()


def test_alone_everything_is_as_it_came() -> None:
    grads, arrays = {"w": mx.ones(2)}, [np.ones(3)]
    assert ALONE.share([3, 1, 2]) == [3, 1, 2]
    assert ALONE.whole([[3, 1, 2]]) == [3, 1, 2]
    assert ALONE.total(grads, {}) is grads
    assert ALONE.gather_arrays("x", arrays)[0][0] is arrays[0]
    assert ALONE.gather("x", 7) == [7]
    assert ALONE.first("x", b"abc") == b"abc"
    assert ALONE.writes


def test_rows_are_dealt_so_that_all_answers_to_a_prompt_stay_together() -> None:
    prompts = [(1,), (2, 2), (1,), (3, 3, 3), (2, 2)]
    rows = [Tokens(prompt, (9,)) for prompt in prompts]
    assert own_rows(rows, ALONE) == [0, 1, 2, 3, 4]
    # Tokens of the three prompts' rows: (1) 2 + 2 = 4, (2, 2) 3 + 3 = 6, (3, 3, 3) 4: the longest first, dealt in turn,
    # equal ones in their order.
    assert own_rows(rows, World(0, 2)) == [1, 3, 4]
    assert own_rows(rows, World(1, 2)) == [0, 2]


def test_all_take_the_plan_of_the_one_with_the_least_memory() -> None:
    large = {"token_budget": 4096, "gradient_checkpointing": False, "rollout_rows": 64}
    small = {"token_budget": 1024, "gradient_checkpointing": True, "rollout_rows": 96}
    assert smallest([large]) == large
    assert smallest([large, small]) == {"token_budget": 1024, "gradient_checkpointing": True, "rollout_rows": 64}
