"""The sweeps of a comparison: each method's frontier by adapter strength, and the methods at equal KL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts import Artifact, open_artifact
from align_contracts.errors import ConfigError, KindError, VerificationError
from align_eval.budgets import difference, interpolate, over_seeds
from align_eval.controlled import FREE, input_digest, text
from align_eval.diagnostics.overoptimization import FORMS, described_fit
from align_eval.effects import compared
from align_eval.ledger import Entry
from align_eval.study import Study

Json = dict[str, Any]

NUMBERS = ("reward_mean", "gold")
PLACES = 5
"""Places of the grid of equal KL, the last at the common budget."""


@dataclass(frozen=True)
class Sweep:
    """One run at several strengths.

    Attributes:
        label: The run.
        method: Its method.
        artifact: Where it was published.
        points: One row a strength, as `sweep.point` gives them.
        gold: What gave the gold score.
    """

    label: str
    method: str
    artifact: Artifact
    points: list[Json]
    gold: str | None


def open_sweeps(paths: Sequence[Path], study: Study) -> list[Sweep]:
    """Open the sweeps of a study's runs.

    Args:
        paths: Sweep artifacts, one a run, in any order; none leaves the frontier out.
        study: The runs.

    Returns:
        The sweeps in the order of the runs.

    Raises:
        KindError: One is no sweep.
        ConfigError: One is of another run, a run has none, or two.
        VerificationError: They were not made alike, so their frontiers cannot be compared.
    """
    if not paths:
        return []
    runs = {run.policy.content_digest: run for run in study.runs}
    found: dict[str, Sweep] = {}
    for path in paths:
        artifact = open_artifact(path, "responses")
        if all(record.role != "sweep" for record in artifact.manifest.files):
            raise KindError(f"{artifact.name} is no sweep", expected="an artifact of align-eval sweep", got="responses")
        run = runs.get(input_digest(artifact, "policy", whole=True))
        if run is None:
            raise ConfigError(f"{artifact.name} sweeps a policy that is not compared", do="Give sweeps of these runs")
        if run.label in found:
            raise ConfigError(f"two sweeps of {run.label}", do="Give one for each run")
        content = artifact.read_json("sweep")
        found[run.label] = Sweep(run.label, run.method, artifact, content["points"], content["gold"])
    if missing := [run.label for run in study.runs if run.label not in found]:
        raise ConfigError(f"no sweep of {', '.join(missing)}", do="Give one for each run, or none")
    sweeps = [found[run.label] for run in study.runs]
    _require_alike(sweeps, study)
    return sweeps


def frontiers(sweeps: Sequence[Sweep]) -> Json | None:
    """The frontiers, their means over seeds, and the methods at equal KL.

    Args:
        sweeps: One a run.

    Returns:
        {gold, prompts, split, temperature, runs, bands, fits, equal_kl}; None without sweeps. The fits are those of
        the over-optimisation section, here over distances that the strengths spread evenly.
    """
    if not sweeps:
        return None
    details = sweeps[0].artifact.details
    methods = list(dict.fromkeys(sweep.method for sweep in sweeps))
    return {
        "gold": sweeps[0].gold,
        "prompts": details.prompts,
        "split": details.split,
        "temperature": details.temperature,
        "runs": [
            {
                "label": sweep.label,
                "method": sweep.method,
                "name": sweep.artifact.name,
                "digest": sweep.artifact.content_digest,
                "points": sweep.points,
            }
            for sweep in sweeps
        ],
        "bands": {method: _band([one for one in sweeps if one.method == method]) for method in methods},
        "fits": [
            found
            for method in methods
            for of, name in (("proxy", "reward_mean"), ("gold", "gold"))
            for form in FORMS
            if (found := described_fit(method, of, form, [_curve(s, name) for s in sweeps if s.method == method]))
        ],
        "equal_kl": equal_kl(sweeps),
    }


def equal_kl(sweeps: Sequence[Sweep]) -> Json:
    """What each method's distance from the reference buys: reward and gold score at the same KL.

    The budget is the largest KL that every run reached. Between strengths a run is read off a straight line over √KL,
    along which reward is nearly straight close to the reference.

    Args:
        sweeps: One a run.

    Returns:
        {budget, methods, difference, grid}; the grid divides √KL evenly.
    """
    budget = max(0.0, min(max(point["kl"] for point in sweep.points) for sweep in sweeps))
    methods = list(dict.fromkeys(sweep.method for sweep in sweeps))
    at = {m: {n: [_at(s, n, budget) for s in sweeps if s.method == m] for n in NUMBERS} for m in methods}
    pair = compared(methods)
    apart = {n: difference(at[pair[0]][n], at[pair[1]][n]) for n in NUMBERS} if len(pair) == 2 else None
    grid = []
    for place in range(1, PLACES + 1):
        kl = budget * (place / PLACES) ** 2
        values = {m: {n: _mean([_at(s, n, kl) for s in sweeps if s.method == m]) for n in NUMBERS} for m in methods}
        grid.append({"kl": kl, **values})
    return {
        "budget": budget,
        "methods": {method: {name: over_seeds(values) for name, values in at[method].items()} for method in methods},
        "difference": None if apart is None else {"first": pair[0], "second": pair[1], **apart},
        "grid": grid,
    }


def _curve(sweep: Sweep, name: str) -> tuple[list[float], list[float]]:
    """(√KL, gain over strength 0) of each strength that has the number; nothing where strength 0 was left out."""
    start = next((point[name] for point in sweep.points if point["strength"] == 0), None)
    known = [point for point in sweep.points if point[name] is not None] if start is not None else []
    return [_root(point["kl"]) for point in known], [point[name] - start for point in known]


def _require_alike(sweeps: Sequence[Sweep], study: Study) -> None:
    """Raise VerificationError where sweeps differ in anything but the policy, or have another reward than the runs."""
    rows: Mapping[str, Any] = {
        "settings": lambda one: text({k: v for k, v in one.manifest.config.items() if k not in FREE}),
        "prompts": lambda one: input_digest(one, "dataset") + f" {one.details.prompts}",
        "reward model": lambda one: input_digest(one, "reward_model"),
        "gold reward model": lambda one: input_digest(one, "gold"),
    }
    needed = {"reward model": study.reward_model.content_digest[:12]}
    for name, of in rows.items():
        entry = Entry(name, {sweep.label: of(sweep.artifact) for sweep in sweeps}, needed.get(name))
        if not entry.ok:
            raise VerificationError(
                f"the sweeps differ in {entry.name}: {entry.explain()}", do="Sweep all runs with the same settings."
            )


def _at(sweep: Sweep, name: str, kl: float) -> float | None:
    points = sorted(sweep.points, key=lambda point: point["kl"])
    return interpolate(_root(kl), [_root(p["kl"]) for p in points], [p[name] for p in points])


def _root(kl: float) -> float:
    """√KL; an estimate of a KL of nothing can round to a little less than nothing."""
    return math.sqrt(max(kl, 0.0))


def _band(sweeps: Sequence[Sweep]) -> list[Json]:
    found = []
    for place, first in enumerate(sweeps[0].points):
        own = [sweep.points[place] for sweep in sweeps]
        means = {name: _mean([point[name] for point in own]) for name in ("kl", *NUMBERS)}
        found.append({"strength": first["strength"], **means, "n": len(own)})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
