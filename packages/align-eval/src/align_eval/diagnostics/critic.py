"""How well PPO's critic knows what comes: explained variance over training and at the evaluation points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from align_eval.diagnostics.bands import band, logged
from align_eval.trajectory import Row, Trajectory

Json = dict[str, Any]


def critic(runs: Sequence[Trajectory]) -> Json:
    """Describe the critics.

    Args:
        runs: All runs; those without values have no critic.

    Returns:
        {reason, training, runs}: `training` is the band of the logged explained variance (of GAE's returns, which
        hold the critic's own values); `runs` measures it at the evaluation points against what really came.
    """
    owners = [run for run in runs if any(row.get("explained_variance") is not None for row in run.log)]
    found = [{"label": run.label, "points": _points(run)} for run in runs if run.method == "ppo"]
    found = [row for row in found if row["points"]]
    nothing = not owners and not found
    return {
        "reason": "no run has a critic" if nothing else None,
        "training": band([logged(run, "explained_variance") for run in owners]) if owners else None,
        "runs": found,
    }


def quality(values: Sequence[Sequence[float]], rewards: Sequence[float], gamma: float) -> Json:
    """Judge values by the discounted reward that followed, γ^(T−1−t)·r at token t of T.

    Args:
        values: V(s_t) before each token of each answer.
        rewards: The reward at the end of each answer, on the critic's scale.
        gamma: Discount γ in [0, 1].

    Returns:
        {explained_variance, first_token_correlation, bias}: 1 − Var(G − V)/Var(G) over all tokens; Pearson's r
        between V before the first token and its G, and their mean difference V − G. Null where a variance is 0.
    """
    returns = [r * gamma ** np.arange(len(v) - 1, -1, -1.0) for v, r in zip(values, rewards, strict=True)]
    v_N, g_N = np.concatenate([np.asarray(v, np.float64) for v in values]), np.concatenate(returns)
    first_B, came_B = np.array([v[0] for v in values]), np.array([g[0] for g in returns])
    varies = np.ptp(first_B) > 0 and np.ptp(came_B) > 0
    return {
        "explained_variance": float(1 - (g_N - v_N).var() / g_N.var()) if g_N.var() > 0 else None,
        "first_token_correlation": float(np.corrcoef(first_B, came_B)[0, 1]) if varies else None,
        "bias": float((first_B - came_B).mean()),
    }


def _points(run: Trajectory) -> list[Json]:
    config: Row = dict(run.policy.manifest.config)
    calibration = run.policy.input("reward_model").details.calibration
    penalty = config.get("truncation_penalty", 0.0)

    def reward(row: Row) -> float:
        """On the critic's scale, as training gives it: mean 0, sd 1 on SFT answers, less the penalty of a cut."""
        return float((row["reward"] - calibration.mean) / (calibration.std or 1.0) - penalty * row["truncated"])

    found = []
    for point in run.checkpoints:
        rows = [row for row in point.read() if row.get("values")]
        if rows:
            measured = quality([r["values"] for r in rows], [reward(r) for r in rows], config.get("gae_gamma", 1.0))
            found.append({"iteration": point.iteration, **measured})
    return found
