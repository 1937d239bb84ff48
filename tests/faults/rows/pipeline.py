"""The whole chain, killed with its process group at random moments and started again until it is done."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from align_contracts import open_artifact
from faults.row import Count, Row

ROOT = Path(__file__).parents[3]
OFTEN = [part for stage in ("sft", "rm", "rl") for part in ("--set", f"{stage}.checkpoint_every=1")]
CHAIN = ("--recipe", "tests/tiny.toml", "--set", "pipeline.seeds=[1]", *OFTEN)
"""14 steps: both methods, one seed each, a checkpoint after every iteration."""
WAIT = (0.3, 8.0)
"""Seconds between start and kill; a few kills on the way of one chain."""
DYING = 10.0
"""Seconds after which nothing of a killed chain may be left: its steps see only that the pipeline is gone."""


@dataclass
class Chain:
    """One directory of artifacts on its way.

    Attributes:
        out: the directory.
        kills: how often its pipeline was killed.
        seen: each finished artifact's manifest, by inode and digest, when it was first seen.
        failures: promises that did not hold.
    """

    out: Path
    kills: int = 0
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def start(self, seconds: float | None = None) -> bool:
        """Start the pipeline, kill its process group after so many seconds, and say whether it ended before."""
        command = [sys.executable, "-m", "nox", "-s", "pipeline", "--", *CHAIN, "--out", str(self.out)]
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            said = process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.kills += 1
            process.communicate()
            self._check_the_dead()
            self._check_the_finished()
            return False
        self._check_the_finished()
        if process.returncode:
            self.failures.append(f"{self.out.name}: exit code {process.returncode}\n{said[-2000:]}")
        return True

    def digests(self) -> dict[str, str]:
        """Content digest of each artifact."""
        return {name: open_artifact(self.out / name).content_digest for name in self._finished()}

    def check_nothing_left(self) -> None:
        """No lock, temporary directory or unfinished run beside the finished artifacts."""
        left = {path.name for path in self.out.iterdir() if path.name.startswith(".")} - {".logs"}
        if left:
            self.failures.append(f"{self.out.name}: {', '.join(sorted(left))} left after the finish")

    def _finished(self) -> list[str]:
        return sorted(path.parent.name for path in self.out.glob("[!.]*/manifest.json"))

    def _check_the_finished(self) -> None:
        """What was finished once is still the same file: it was not made again."""
        for name in self._finished():
            manifest = self.out / name / "manifest.json"
            found = manifest.stat().st_ino, open_artifact(self.out / name).manifest_digest
            if self.seen.setdefault(name, found) != found:
                self.failures.append(f"{self.out.name}: {name} was made again after kill {self.kills}")
        for name in self.seen.keys() - set(self._finished()):
            self.failures.append(f"{self.out.name}: {name} is gone after kill {self.kills}")

    def _check_the_dead(self) -> None:
        end = time.monotonic() + DYING
        while left := processes(self.out):
            if time.monotonic() > end:
                self.failures.append(f"{self.out.name}: still alive after kill {self.kills}: {'; '.join(left)}")
                return
            time.sleep(0.1)


def processes(out: Path) -> list[str]:
    """Command lines of the living processes that work in a directory of artifacts."""
    listed = subprocess.run(["ps", "-Ao", "stat=,args="], capture_output=True, text=True, check=True).stdout
    lines = (line.split(maxsplit=1) for line in listed.splitlines())
    return [args for stat, args in lines if not stat.startswith("Z") and (f"{out}/" in args or args.endswith(str(out)))]


def kills(scratch: Path, tries: int, seed: int) -> Count:
    """Kill chains until it has been done often enough, each chain until it is finished."""
    undisturbed = Chain(scratch / "undisturbed")
    undisturbed.start()
    wanted = undisturbed.digests()
    if undisturbed.failures or len(wanted) != 14:
        return Count(0, tries, (f"the undisturbed chain made {len(wanted)} artifacts", *undisturbed.failures))
    rng, done, survived, failures = random.Random(seed), 0, 0, list[str]()
    while done < tries:
        chain = Chain(scratch / f"chain-{done}")
        while not chain.start(rng.uniform(*WAIT) if done + chain.kills < tries else None):
            pass
        if chain.digests() != wanted:
            other = sorted(name for name, digest in chain.digests().items() if wanted.get(name) != digest)
            missing = sorted(wanted.keys() - chain.digests().keys())
            chain.failures.append(f"{chain.out.name}: other content in {other}, missing {missing}")
        chain.check_nothing_left()
        done += chain.kills
        survived += 0 if chain.failures else chain.kills
        failures += chain.failures
    return Count(survived, done, tuple(failures))


ROWS = (
    Row(
        "pipeline",
        "kill -9 of the whole chain: the same command ends with the same artifacts, none made twice",
        20,
        kills,
    ),
)
