"""The launcher that started this process as one of several: which place it gave, and its end.

``mlx.launch``, ``mpirun`` and ``srun`` tell their processes by environment variables, so MLX need not be loaded.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from align_contracts.errors import ConfigError

__all__ = ["SIZES", "Place", "end_with_launcher", "launched", "require_alone"]

SIZES = {
    "MLX_RANK": "MLX_WORLD_SIZE",
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
    "PMI_RANK": "PMI_SIZE",
}
"""Variables that number the processes of one run, and those that may say how many there are."""


@dataclass(frozen=True)
class Place:
    """The place of this process among several.

    Attributes:
        variable: The environment variable that tells it.
        rank: That variable's text: ``"0"`` is the first process.
    """

    variable: str
    rank: str

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == "0"

    @property
    def alone(self) -> str:
        """What a user does who did not mean several."""
        return f"To run it alone, start it without a launcher, or unset {self.variable} (env -u {self.variable} …)"


def launched() -> Place | None:
    """Return the place that a launcher gave this process; None where it runs alone, also as a launcher's only one."""
    for variable, size in SIZES.items():
        if variable in os.environ:
            hosts = os.environ.get("MLX_HOSTFILE") if variable == "MLX_RANK" else None
            only = os.environ.get(size) == "1" or (hosts and not Path(hosts).read_bytes().strip())
            return None if only else Place(variable, os.environ[variable])
    return None


def require_alone(what: str) -> None:
    """Raise ConfigError where a command that would do its work once for each process is one of several."""
    if (place := launched()) is not None:
        raise ConfigError(
            f"{what} is not data-parallel: each process would do the whole work",
            expected="one process",
            got=f"{place.variable} {place.rank}, one of several",
            do=place.alone,
        )


def end_with_launcher() -> None:
    """Take the end of ``mlx.launch``, which a scheduler's SIGTERM kills alone, for a SIGTERM to this process.

    The launcher holds the writing end of its processes' standard input.
    """
    hung_up = select.poll()
    hung_up.register(0, 0)

    def wait() -> None:
        hung_up.poll()
        os.kill(os.getpid(), signal.SIGTERM)

    with suppress(OSError):  # no standard input at all
        if stat.S_ISFIFO(os.fstat(0).st_mode) and not hung_up.poll(0):
            threading.Thread(target=wait, name="launcher", daemon=True).start()
