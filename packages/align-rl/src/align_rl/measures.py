"""What an iteration is measured by: its rollout's facts, its phases' seconds, its memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
import numpy as np

from align_mlx.progress import doing
from align_rl.algorithms.kl import k1, k3
from align_rl.algorithms.masked import masked_mean
from align_rl.methods.actor import LARGEST, RATIO_ERROR
from align_rl.rollout import Rollout


class Clock:
    """Seconds by phase since its making."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's time under a name, and say what is being done."""
        doing(name)
        start = time.perf_counter()
        yield
        self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - start

    def facts(self) -> dict[str, float | int | dict[str, float]]:
        """Give total and phase seconds, and MLX's active and peak memory in bytes."""
        return {
            "seconds": round(time.perf_counter() - self.start, 4),
            "phases": {k: round(v, 4) for k, v in self.phases.items()},
            "active_memory_bytes": mx.get_active_memory(),
            "peak_memory_bytes": mx.get_peak_memory(),
        }


def rollout_facts(rollout: Rollout) -> dict[str, float]:
    """Give reward, KL per token (what the controller reads; k1, k3 beside it), length and truncation of a rollout."""
    mask_BT = rollout.batch.mask_BT
    lengths = [len(a.tokens.response) for a in rollout.answers]
    kl_args = rollout.logprobs_BT, rollout.ref_logprobs_BT
    with np.errstate(invalid="ignore"):  # NumPy would warn of what the guard is about to say
        mean, std = float(np.mean(rollout.scores_B)), float(np.std(rollout.scores_B))
    return {
        "reward_mean": mean,
        "reward_std": std,
        "kl": masked_mean(rollout.kl_BT, mask_BT).item(),
        "kl_k1": masked_mean(k1(*kl_args), mask_BT).item(),
        "kl_k3": masked_mean(k3(*kl_args), mask_BT).item(),
        "response_length_mean": float(np.mean(lengths)),
        "truncated_rate": float(rollout.truncated_B.mean()),
        "response_tokens": sum(lengths),
        "responses": len(lengths),
    }


def mean_of(steps: list[dict[str, float]]) -> dict[str, float]:
    """Average the steps' facts by name; the first step's ratio error is kept apart (it must be about 0)."""
    if not steps:
        return {}
    apart = (RATIO_ERROR, LARGEST)
    means = {k: float(np.mean([s[k] for s in steps])) for k in steps[0] if k not in apart}
    return {**means, **{f"first_{k}": steps[0][k] for k in apart}}
