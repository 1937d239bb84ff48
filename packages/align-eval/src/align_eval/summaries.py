"""The numbers of one run and of one method: rates, rewards, lengths, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from align_contracts import Artifact
from align_contracts.errors import VerificationError
from align_eval.algorithms.mean import clustered_share, mean_interval
from align_eval.algorithms.swap import Tally, tally
from align_eval.algorithms.wilson import wilson
from align_eval.order import order_numbers
from align_eval.study import Row, Run, Study

Json = dict[str, Any]

VOLATILE = ("training_seconds", "peak_memory_bytes", "seconds_per_iteration")
"""Numbers that depend on the clock or the machine's state: in report.json, not in results.json."""

ACROSS_SEEDS = (
    "win_rate",
    "win_rate_decided",
    "loss_rate",
    "tie_rate",
    "preference_mean",
    "length_controlled_win_rate",
    "kl",
    "perplexity",
    "reward_mean",
    "reward_gain",
    "response_length_mean",
    "convergence_iteration",
    *VOLATILE,
)
"""Numbers of a run that are averaged over the seeds of a method."""


def metric(artifact: Artifact, name: str) -> float | None:
    """A manifest metric, or None if the artifact does not have it."""
    try:
        return artifact.metric(name)
    except VerificationError:
        return None


def rates(counts: Tally) -> Json:
    """Counts of a judging, the share of each outcome among all pairs, and the share of wins among decided ones.

    Args:
        counts: The outcomes, at least one.

    Returns:
        Counts; win_rate, loss_rate, tie_rate, invalid_rate (of n; they add up to 1); win_rate_decided with its
        Wilson interval `wilson`, null where nothing is decided; `win_rate_wilson` for win_rate.
    """
    found: Json = {
        "n": counts.n,
        "wins": counts.wins,
        "losses": counts.losses,
        "ties": counts.ties,
        "invalid": counts.invalid,
        "win_rate": counts.wins / counts.n,
        "loss_rate": counts.losses / counts.n,
        "tie_rate": counts.ties / counts.n,
        "invalid_rate": counts.invalid / counts.n,
        "win_rate_wilson": list(wilson(counts.wins, counts.n)),
        "win_rate_decided": None,
        "wilson": None,
    }
    if counts.decided:
        found["win_rate_decided"] = counts.wins / counts.decided
        found["wilson"] = list(wilson(counts.wins, counts.decided))
    return found


def count(rows: Iterable[Row]) -> Tally:
    """Count the outcomes of verdict rows."""
    return tally(row["outcome"] for row in rows)


def by_category(rows: Sequence[Row]) -> dict[str, Json]:
    """Rates of each category, in the order of first appearance."""
    names = dict.fromkeys(row["category"] for row in rows)
    return {name: rates(count(row for row in rows if row["category"] == name)) for name in names}


def means(answers: Sequence[Row], name: str) -> Json:
    """Mean of a field of answers with its 95 % interval; nulls where an answer lacks it."""
    values = [row[name] for row in answers]
    return _mean([] if None in values else values)


def paired_gain(answers: Sequence[Row], baseline: Sequence[Row], name: str) -> Json:
    """Mean difference to the baseline's answers on the same prompts, with its interval; nulls if not possible."""
    theirs = {row["prompt_id"]: row[name] for row in baseline}
    pairs = [(row[name], theirs.get(row["prompt_id"])) for row in answers]
    whole = all(mine is not None and other is not None for mine, other in pairs)
    return _mean([mine - other for mine, other in pairs] if whole else [])


def longer_wins(run: Run, baseline: Sequence[Row]) -> Json:
    """How often the longer answer won, among decided pairs of different length."""
    theirs = {row["prompt_id"]: row["length"] for row in baseline}
    gaps = {row["prompt_id"]: row["length"] - theirs[row["prompt_id"]] for row in run.answers}
    decided = [(gaps[v["prompt_id"]], v["outcome"]) for v in run.verdicts if v["outcome"] in ("win", "loss")]
    uneven = [(gap, outcome) for gap, outcome in decided if gap != 0]
    longer = sum((gap > 0) == (outcome == "win") for gap, outcome in uneven)
    found: Json = {"value": None, "n": len(uneven), "wilson": None}
    if uneven:
        found |= {"value": longer / len(uneven), "wilson": list(wilson(longer, len(uneven)))}
    return found


def run_numbers(run: Run, study: Study, convergence: Mapping[str, Any]) -> Json:
    """All numbers of one run.

    Args:
        run: The run.
        study: Its study.
        convergence: Result of `convergence.convergence`.

    Returns:
        The fields of `runs` in report.json.
    """
    reward, gain = means(run.answers, "reward"), paired_gain(run.answers, study.baseline_answers, "reward")
    length = means(run.answers, "length")
    base_length = means(study.baseline_answers, "length")["value"]
    order = order_numbers(run.verdicts)
    seconds, iterations = metric(run.policy, "training_seconds"), metric(run.policy, "iterations")
    chosen = run.policy.details.selection
    return {
        "label": run.label,
        "method": run.method,
        "seed": run.seed,
        "control": run.control,
        **rates(count(run.verdicts)),
        "kl": metric(run.policy, "kl"),
        "perplexity": metric(run.policy, "perplexity"),
        "reward_mean": reward["value"],
        "reward_interval": reward["interval"],
        "reward_gain": gain["value"],
        "reward_gain_interval": gain["interval"],
        "response_length_mean": length["value"],
        "response_length_interval": length["interval"],
        "length_ratio": length["value"] / base_length if base_length else None,
        "longer_wins": longer_wins(run, study.baseline_answers),
        "convergence_iteration": convergence["iteration"],
        "convergence_reason": convergence["reason"],
        "selected_iteration": chosen.step if chosen else None,
        "gate_passed": chosen.gate_passed if chosen else None,
        "controller_actions": metric(run.policy, "controller_actions"),
        "stability": stability(run.policy),
        "order_flip_rate": order["flip_rate"],
        "order_flip_interval": order["flip_interval"],
        "first_place_rate": order["first_place_rate"],
        "first_place_interval": order["first_place_interval"],
        "first_place_p": order["first_place_p"],
        "categories": by_category(run.verdicts),
        "samples": samples(run.policy),
        "trainable_parameters": trainable_parameters(run.policy),
        "lines_of_code": run.policy.manifest.extensions.get("lines_of_code"),
        "training_seconds": seconds,
        "seconds_per_iteration": seconds / iterations if seconds is not None and iterations else None,
        "peak_memory_bytes": _whole(metric(run.policy, "peak_memory_bytes")),
    }


def stability(policy: Artifact) -> Json:
    """Standard deviation of the rollouts' reward and KL over the iterations, from the run's log."""
    log = _log(policy)
    found: Json = {"iterations": len(log)}
    for name in ("reward_mean", "kl"):
        values = [row[name] for row in log if row.get(name) is not None]
        found[f"{name}_sd"] = mean_interval(values).sd if values else None
    return found


def samples(policy: Artifact) -> Json:
    """Responses and response tokens that a run drew, from its log."""
    log = _log(policy)
    return {name: sum(row.get(name, 0) for row in log) or None for name in ("responses", "response_tokens")}


def trainable_parameters(policy: Artifact) -> int | None:
    """Numbers in the policy's own adapter and, for PPO, in its critic."""
    own = {record.path for record in policy.manifest.files if record.role in ("adapter", "critic")}
    total = 0
    for tensor in policy.manifest.tensors:
        if tensor.file in own:
            size = 1
            for axis in tensor.shape:
                size *= axis
            total += size
    return total or None


def across_seeds(runs: Sequence[Json]) -> dict[str, Json]:
    """Mean, sd and interval over seeds of each number in ACROSS_SEEDS.

    Args:
        runs: Numbers of the runs of one method.

    Returns:
        By name {value, sd, n, interval}; n counts the seeds that have the number, value is null if none has.
    """
    return {name: _mean([run[name] for run in runs if run[name] is not None]) for name in ACROSS_SEEDS}


def pooled(runs: Sequence[Run]) -> Json:
    """All runs taken together: the Wilson interval over pairs, and one with the prompt as the unit.

    Args:
        runs: At least one run.

    Returns:
        As `rates`; `by_prompt`, the interval that allows for runs sharing prompts and baseline answers; and `interval`,
        the one to quote: by prompt for several runs, Wilson's for one.
    """
    total = count(row for run in runs for row in run.verdicts)
    found = rates(total)
    found["by_prompt"] = None
    if total.decided:
        wins: dict[str, int] = {}
        decided: dict[str, int] = {}
        for run in runs:
            for row in run.verdicts:
                key = row["prompt_id"]
                wins[key] = wins.get(key, 0) + (row["outcome"] == "win")
                decided[key] = decided.get(key, 0) + (row["outcome"] in ("win", "loss"))
        _, interval = clustered_share(list(wins.values()), list(decided.values()))
        found["by_prompt"] = _list(interval)
    found["interval"] = found["by_prompt"] if len(runs) > 1 else found["wilson"]
    return found


def _log(policy: Artifact) -> list[Row]:
    has = any(record.role == "log" for record in policy.manifest.files)
    return policy.read_jsonl("log") if has else []


def _mean(values: Sequence[float]) -> Json:
    """{value, sd, n, interval}; value is null without values."""
    if not values:
        return {"value": None, "sd": None, "n": 0, "interval": None}
    found = mean_interval([float(value) for value in values])
    return {"value": found.value, "sd": found.sd, "n": found.n, "interval": _list(found.interval)}


def _list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
