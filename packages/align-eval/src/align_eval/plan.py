"""``align-eval plan``: how many seeds and prompts find a wanted difference, and what a design can detect."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from align_contracts import open_artifact
from align_contracts.errors import ConfigError, VerificationError
from align_eval.algorithms.difference_power import Design, Variances, detectable_difference, outcome_variances
from align_eval.config import PlanConfig
from align_eval.design import plan_row, run_sd
from align_eval.render.text import number, percent

Json = dict[str, Any]

EFFECT, SEEDS, PROMPTS = 0.05, 3, 300
"""What is planned for where nothing is said: five points, and the study's design."""
SEED_SDS = (0.0, 0.02, 0.05, 0.1)
"""Spreads between seeds from none to more than any study should have; nobody knows theirs before a pilot."""


def run(config: PlanConfig) -> int:
    """Print a plan.

    Args:
        config: The settings.

    Returns:
        0.

    Raises:
        ConfigError: The settings contradict each other.
        VerificationError: The report measured no spread.
        AlignError: As opening the report raises it.
    """
    found = plan(config)
    print(json.dumps(found, indent=2, allow_nan=False) if config.as_json else "\n".join(lines(found)))
    return 0


def plan(config: PlanConfig) -> Json:
    """The plan, as ``--json`` prints it.

    Args:
        config: The settings.

    Returns:
        seeds, prompts, power, alpha, source (`assumed` or `measured`) and `rows`, one for each spread: seed_sd, run_sd,
        difference, cohens_d, power (of this design), detectable_difference, seeds_needed, prompts_needed.
    """
    if config.report is not None:
        design, spreads = _measured(config.report, config)
    else:
        design, spreads = _assumed(config)
    return {
        "seeds": list(design.seeds),
        "prompts": design.prompts,
        "power": config.power,
        "alpha": config.alpha,
        "source": "assumed" if config.report is None else "measured",
        "rows": [_row(config, design, variances) for variances in spreads],
    }


def _row(config: PlanConfig, design: Design, variances: Variances) -> Json:
    sd = run_sd(design, variances)
    difference = config.cohens_d * sd if config.cohens_d is not None else config.effect or EFFECT
    if difference >= 1.0:
        raise ConfigError(
            f"Cohen's d of {config.cohens_d:g} is a difference of {difference:.2f} in win rate at a spread of {sd:.2f}",
            expected="a difference below 1",
            do="Give a smaller --cohens-d or --seed-sd",
        )
    return {
        "seed_sd": math.sqrt(sum(variances.seeds) / 2.0),
        "run_sd": sd,
        **plan_row(difference, design, variances, config.power, config.alpha),
        "detectable_difference": detectable_difference(design, variances, config.power, config.alpha),
    }


def _assumed(config: PlanConfig) -> tuple[Design, list[Variances]]:
    """The design and the spreads that the settings name."""
    seeds = config.seeds or SEEDS
    win_rate = (0.5 if config.win_rate_decided is None else config.win_rate_decided) * (1.0 - (config.tie_rate or 0.0))
    shares = config.prompt_share or 0.0, config.method_share or 0.0
    try:
        spreads = [outcome_variances(win_rate, (sd, sd), *shares) for sd in config.seed_sd or SEED_SDS]
    except ValueError as error:
        raise ConfigError(
            "no judge gives outcomes that spread like this", got=str(error).partition(", got ")[2],
            expected="a seed_sd below sqrt(w(1-w)), and shares that add up to less than 1", do="Lower one of them",
        ) from error  # fmt: skip
    return Design((seeds, seeds), config.prompts or PROMPTS), spreads


def _measured(path: Path, config: PlanConfig) -> tuple[Design, list[Variances]]:
    """The design and the spread of a comparison."""
    report = open_artifact(path, "report").read_json("results")
    found = report.get("design")
    if not found:
        raise VerificationError(
            f"{path} measured no spread between seeds",
            expected="a report of two methods with two seeds or more each",
            do="Run align-eval compare again with such runs, or give --seed-sd",
        )
    seeds = (config.seeds, config.seeds) if config.seeds else tuple(found["seeds"])
    design = Design((seeds[0], seeds[1]), config.prompts or found["prompts"], found["categories"])
    parts = found["variances"]
    return design, [Variances(tuple(parts["seeds"]), tuple(parts["residual"]), parts["prompts"])]


def lines(found: Json) -> list[str]:
    """The plan for people."""
    first, second = found["seeds"]
    rows = found["rows"]
    heads = ("seed SD", "run SD", "difference", "d", "power", "detectable", "seeds needed", "prompts needed")
    cells = [heads, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    table = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    level = f"{100 * found['power']:g} % power at the two-sided {100 * found['alpha']:g} % level"
    spread = "as the report measured it" if found["source"] == "measured" else "as the settings say"
    return [
        f"{first} + {second} seeds, {found['prompts']} prompts; spread {spread}; win rates in points.",
        *table,
        f"detectable: the difference that this design finds with {level}.",
        f"needed: seeds a method on {found['prompts']} prompts, or prompts with {first} + {second} seeds, to find the "
        "difference with it.",
        *_advice(rows),
    ]


def _cells(row: Json) -> tuple[str, ...]:
    detectable = row["detectable_difference"]
    return (
        *(number(100 * row[name]) for name in ("seed_sd", "run_sd", "difference")),
        number(row["cohens_d"]),
        percent(row["power"], 0),
        "nothing" if detectable is None else number(100 * detectable),
        *("never" if row[name] is None else str(row[name]) for name in ("seeds_needed", "prompts_needed")),
    )


def _advice(rows: Sequence[Json]) -> list[str]:
    if all(row[name] is not None for row in rows for name in ("seeds_needed", "prompts_needed")):
        return []
    return ["never: not with 100 000. Prompts do not average out how seeds differ, nor seeds what prompts do."]
