"""Runs as their logs show them, without any training."""

import json
import os
import platform
import subprocess
import sys

import pytest


class Logs:
    """Writes what a training writes, into run folders and artifacts of a directory."""

    def __init__(self, root):
        self.root = root

    def folder(self, name):
        """The run folder, made."""
        path = self.root / f".{name}.run"
        path.mkdir(exist_ok=True)
        return path

    def append(self, name, *rows, file="train.jsonl"):
        """Add rows to a live log."""
        with (self.folder(name) / file).open("a") as log:
            log.writelines(json.dumps(row) + "\n" for row in rows)

    def lock(self, name, pid=None):
        """Leave the lock of a process: this one, or a dead one."""
        who = f"pid {os.getpid() if pid is None else pid} on {platform.node() or 'localhost'}"
        (self.root / f"..{name}.run.lock").write_text(f"{who} since 2026-11-21 12:00:00 UTC\n")

    def unlock(self, name):
        """End the process's hold."""
        (self.root / f"..{name}.run.lock").unlink()

    def publish(self, name, **details):
        """Publish what the run folder has, with a manifest of the kind that `_manifest` reads."""
        out = self.root / name
        self.folder(name).rename(out)
        kind = details.pop("kind", "policy")
        manifest = {"kind": kind, "details": details, "config": {"num_iterations": 4, "seed": 7}}
        (out / "manifest.json").write_text(json.dumps(manifest))


def rl_row(iteration, **more):
    """A line of an RL run's log with figures that are easy to reckon with: KL = iteration / 100."""
    return {
        "method": "ppo",
        "seed": 42,
        "num_iterations": 4,
        "iteration": iteration,
        "reward_mean": iteration * 0.5,
        "kl": iteration / 100,
        "target_kl": 0.05 if iteration <= 2 else 0.02,
        "response_length_mean": 20.0 + iteration,
        "response_tokens": 600,
        "seconds": 8.0,
        "phases": {"rollout": 2.0, "experience": 1.0, "update": 5.0},
        "active_memory_bytes": 2**30,
        "peak_memory_bytes": 2**31,
        **more,
    }


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


@pytest.fixture
def row():
    return rl_row


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
