"""Processes on loopback that find each other as those of `mlx.launch` do, by MLX's ring."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

PATIENCE = 240.0
"""Seconds that processes may take: they all end, or the test fails."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


@contextmanager
def started(
    commands: Sequence[Sequence[str]], env: Mapping[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start one process for each command, as the ranks of one world; those that still run at the end are killed.

    One alone is started as from a shell.

    Args:
        commands: the arguments of Python in each process.
        env: more environment variables.
        stdin: a descriptor that all of them read.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        hosts = Path(folder, "hosts.json")
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(len(commands))]))
        path = os.pathsep.join(path for path in sys.path if path)
        common = {**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        processes = []
        for rank, command in enumerate(commands):
            place = {"MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)} if len(commands) > 1 else {}
            process = subprocess.Popen(
                [sys.executable, *command],
                env={**common, **place, **(env or {})},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def ended(processes: Sequence["subprocess.Popen[str]"]) -> list[Ended]:
    """Wait for processes."""
    until = time.monotonic() + PATIENCE
    found = []
    for process in processes:
        out, err = process.communicate(timeout=max(1.0, until - time.monotonic()))
        found.append(Ended(process.returncode, out, err))
    return found


def ring(*arguments: str, size: int = 2, env: Mapping[str, str] | None = None) -> list[Ended]:
    """Run the same command in every process of a world, and wait for all."""
    with started([arguments] * size, env) as processes:
        return ended(processes)


def free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
