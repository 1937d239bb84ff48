"""``align-eval summarize``: the numbers of judgments, raw and at equal lengths."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align_contracts import Artifact, open_artifact
from align_contracts.errors import ConfigError
from align_contracts.paths import printable
from align_eval.alarms import one_sided
from align_eval.algorithms.length_control import LengthControlled
from align_eval.algorithms.mean import mean_interval
from align_eval.algorithms.swap import Tally
from align_eval.config import SummarizeConfig
from align_eval.order import judge_alarms, order_numbers
from align_eval.preferences import Preferences, comparable, control_lengths, prior_name, prior_of, read_preferences

Json = dict[str, Any]


@dataclass(frozen=True)
class Judging:
    """One judgments artifact, opened."""

    judgments: Artifact
    verdicts: list[Json]
    pairs: Preferences


def run(config: SummarizeConfig) -> int:
    """Print the numbers of one or several judgments.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        ConfigError: An artifact is given twice.
        AlignError: As opening and reading raise it.
    """
    opened = [open_judging(open_artifact(path, "judgments")) for path in config.judgments]
    digests = [one.judgments.content_digest for one in opened]
    if len(set(digests)) < len(digests):
        raise ConfigError("the same judgments are given twice", do="Name each once: a repeated one would count double")
    found = summaries(opened)
    if config.as_json:
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2))
    else:
        print("\n".join(table(found)))
    return 0


def open_judging(judgments: Artifact) -> Judging:
    """Read what is judged."""
    verdicts = judgments.read_jsonl("verdicts")
    return Judging(judgments, verdicts, read_preferences(judgments, verdicts))


def summaries(opened: Sequence[Judging]) -> list[Json]:
    """Numbers of each judging; those of one judge and baseline are length-controlled together.

    Args:
        opened: The judgings.

    Returns:
        One summary each, rates in percent: `win_rate` is AlpacaEval's, 100·mean preference with a tie as one half,
        over valid pairs, and `standard_error` 100·sd/√n with n − 1.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, one in enumerate(opened):
        groups.setdefault(comparable(one.judgments), []).append(i)
    controlled: dict[int, LengthControlled] = {}
    for group in groups.values():
        results = control_lengths([opened[i].pairs for i in group], prior_of(opened[group[0]].judgments))
        controlled |= dict(zip(group, results, strict=True))
    return [summary(one, controlled[i]) for i, one in enumerate(opened)]


def summary(one: Judging, controlled: LengthControlled) -> Json:
    """The numbers of one judging."""
    details, values = one.judgments.details, one.pairs.values
    counts = Tally(details.wins, details.losses, details.ties, details.invalid)
    mean = mean_interval(values) if values else None
    order = order_numbers(one.verdicts) if details.swapped else None
    return {
        "name": one.judgments.name,
        "candidate": details.candidate or _input(one.judgments, "candidate"),
        "baseline": details.baseline or _input(one.judgments, "baseline"),
        "judge": details.judge,
        "n": counts.n,
        "wins": counts.wins,
        "losses": counts.losses,
        "ties": counts.ties,
        "invalid": counts.invalid,
        "win_rate": None if mean is None else 100 * mean.value,
        "standard_error": None if mean is None or mean.sd is None else 100 * mean.sd / math.sqrt(mean.n),
        "length_controlled_win_rate": _percent(controlled.win_rate),
        "length_controlled_standard_error": _percent(controlled.standard_error),
        "length_coefficient": controlled.coefficient,
        "length_prior": prior_name(one.judgments),
        "difficulty_sd": controlled.difficulty_sd,
        "longer_rate": _percent(one.pairs.longer_rate),
        "order": order,
        "alarms": [*judge_alarms(counts, order), *length_alarms(one.pairs)],
    }


def length_alarms(pairs: Preferences) -> list[Json]:
    """Say where length control rests on the prior, because nearly always the same side is longer."""
    rate = pairs.longer_rate
    if rate is None or not one_sided(rate):
        return []
    text = (
        f"The candidate's answer is the longer one in {100 * rate:.0f} % of the pairs: they hardly tell length from "
        "quality, so the length-controlled rate rests on its prior."
    )
    return [{"code": "length_one_sided", "text": text}]


def table(found: Sequence[Json]) -> list[str]:
    """The summaries as lines for people."""
    names = [printable(one["candidate"]) for one in found]
    width = max(map(len, ["candidate", *names]))
    lines = [f"{'candidate':<{width}}  preferred (ties half) %  length-controlled %  wins  losses  ties  invalid"]
    for name, one in zip(names, found, strict=True):
        raw = _with_error(one["win_rate"], one["standard_error"])
        controlled = _with_error(one["length_controlled_win_rate"], one["length_controlled_standard_error"])
        lines.append(
            f"{name:<{width}}  {raw:<23}  {controlled:<19}  {one['wins']:>4}  {one['losses']:>6}  "
            f"{one['ties']:>4}  {one['invalid']:>7}"
        )
    alarms = [(name, alarm) for name, one in zip(names, found, strict=True) for alarm in one["alarms"]]
    return lines + [f"Care, {name}: {alarm['text']}" for name, alarm in alarms]


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _input(judgments: Artifact, role: str) -> str:
    return next((record.name for record in judgments.manifest.inputs if record.role == role), role)
