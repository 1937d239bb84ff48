"""A warm process that becomes console scripts: each begins at once, and ends as a process of its own does.

Started as ``python -m faults.warm``: reads lines of JSON ``[script, arguments, file for what it says]``, and answers
each with the process's id, and with its exit code once it has ended.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from faults.chain import ROOT, WARM


class Scripts:
    """Starts console scripts from a warm process; use as a context manager."""

    def __enter__(self) -> "Scripts":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
        command = [sys.executable, "-m", "faults.warm"]
        self._process = subprocess.Popen(command, env=path, text=True, bufsize=1, **pipes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, script: str, argv: Sequence[str], log: Path, meanwhile: Callable[[int], object]) -> int:
        """Run a console script and give its exit code, −n where signal n ended it.

        Args:
            script: its name.
            argv: its arguments.
            log: gets what it writes.
            meanwhile: called with its process's id when it begins.
        """
        print(json.dumps([script, list(argv), str(log)]), file=self._process.stdin)
        meanwhile(int(self._process.stdout.readline()))
        return int(self._process.stdout.readline())


def serve() -> int:
    """Fork for every line; a fork goes on as the script."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `align_start` does
    for name in WARM:
        importlib.import_module(name)
    for line in sys.stdin:
        script, argv, log = json.loads(line)
        if (child := os.fork()) == 0:
            return be(script, argv, log)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


def be(script: str, argv: list[str], log: str) -> int:
    """Be a console script that writes to a file."""
    for number, name in ((0, os.devnull), (1, log), (2, log)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [script, *argv]
    code: int = importlib.import_module(f"{script.replace('-', '_')}.cli").main()
    return code


if __name__ == "__main__":
    sys.exit(serve())
