"""The last figures of a run, by name: what `--json` prints and the table shows."""

from typing import Any

from align_rl.dashboard.curves import tokens_per_second
from align_rl.dashboard.runs import WatchedRun, number


def figures(run: WatchedRun) -> dict[str, Any]:
    """Give the last figures of a run.

    Returns:
        Plain JSON. Times are in seconds, memory in bytes, KL in nats a response token, lengths in tokens, the win rate
        from 0 to 1; what a run has not, or not yet, is None. ``reward``, ``kl`` and ``response_length`` are of the last
        training rollout, ``win_rate`` and ``perplexity`` of the last evaluation point.
    """
    state, last = run.state(), run.rows[-1] if run.rows else {}
    phases = last.get("phases")
    return {
        "run": run.name,
        "method": run.method,
        "seed": run.seed,
        "state": state.word,
        "detail": state.detail,
        "position": run.position,
        "of": run.total,
        "eta_seconds": 0.0 if state.word == "finished" else run.eta,
        "age_seconds": run.age,
        "reward": number(last, "reward_mean"),
        "kl": number(last, "kl"),
        "target_kl": number(last, "target_kl"),
        "response_length": number(last, "response_length_mean"),
        "loss": number(last, "loss"),
        "tokens_per_second": tokens_per_second(last),
        "seconds": number(last, "seconds"),
        "phases": {name: number(phases, name) for name in phases} if isinstance(phases, dict) else None,
        "active_memory_bytes": number(last, "active_memory_bytes"),
        "peak_memory_bytes": number(last, "peak_memory_bytes"),
        "win_rate": run.last("win_rate"),
        "perplexity": run.last("perplexity"),
        "pairwise_accuracy": run.last("pairwise_accuracy"),
        "best": run.best,
        "log": str(run.log),
    }
