"""The driver's side: a contestant's process, its turns and its answers."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers.environments import python_of
from peers.protocol import Work

FOLDER = Path(__file__).parents[1]
AS_INSTALLED = "_as_installed"
"""Ends the name of a contestant that runs on MLX's own BLAS."""
Facts = dict[str, Any]


@dataclass
class Contestant:
    """A contestant's process, the rounds in which it plays, and its answers by round; round 0 warms up."""

    name: str
    rounds: range
    process: "subprocess.Popen[str]"
    log: Path
    answers: dict[int, Facts] = field(default_factory=dict)

    def listen(self) -> str:
        """Give its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped; the end of what it printed:\n{self.log.read_text()[-3000:]}")
        return line.strip()

    def turn(self, number: int) -> None:
        """Let it do one iteration."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        self.answers[number] = json.loads(self.listen())
        print(f"round {number}, {self.name}: {self.answers[number]['seconds']:.2f} s", file=sys.stderr)

    def stop(self) -> None:
        """End the process: between turns the end of its input is enough."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    @property
    def last(self) -> Facts:
        """Its last answer."""
        return self.answers[max(self.answers)]

    @property
    def seconds(self) -> list[float]:
        """Seconds of its rounds after the warm-up."""
        return [answer["seconds"] for number, answer in self.answers.items() if number > 0]


def start(name: str, rounds: range, work: Work, folder: Path, python: str | None = None) -> Contestant:
    """Start a contestant and wait until it is ready; its Python is that of its environment unless one is given."""
    module = name.removesuffix(AS_INSTALLED)
    python = python or (sys.executable if module == "ours" else str(python_of(module)))
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(work.threads))
    environment = {**os.environ, **threads, "HF_HUB_OFFLINE": "1"}
    if work.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    else:
        environment["MLX_ENABLE_TF32"] = "0"
    if name != module:
        environment["ALIGN_BLAS"] = "off"
    log = folder / f"{name}.log"
    with log.open("w") as other:
        process = subprocess.Popen(
            [python, "-m", f"peers.{module}", work.command_line()],
            cwd=FOLDER,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=other,
            text=True,
        )
    contestant = Contestant(name, rounds, process, log)
    contestant.listen()
    return contestant
