"""Trajectories made by hand: no files, every number chosen by the test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from align_eval.gold import Gold
from align_eval.trajectory import Checkpoint, Trajectory

SCORED = Gold("reference")


def checkpoint(iteration: int, *, gold: Any = (), rewards: Any = None, rows: Any = (), **facts: Any) -> Checkpoint:
    """An evaluation point; gold and rewards are lists over prompts p0, p1, …"""
    plain = {"kl": 0.01, "reward_mean": 0.0, "perplexity": 3.0, "target_kl": 0.05, "selected": False}
    named = [{f"p{i}": float(x) for i, x in enumerate(values)} for values in (rewards or gold, gold)]
    return Checkpoint(iteration, plain | facts | {"iteration": iteration}, *named, read=lambda: list(rows))


def trajectory(label: str, *points: Checkpoint, log: Any = (), gold: Gold = SCORED, **policy: Any) -> Trajectory:
    """A run of these points; its method is the label's first part."""
    artifact = SimpleNamespace(details=SimpleNamespace(selection=SimpleNamespace(rule="reward")), **policy)
    return Trajectory(label, label.split("-", maxsplit=1)[0], artifact, points, tuple(log), gold)  # type: ignore[arg-type]
