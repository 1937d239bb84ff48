"""What a comparison of some size can detect, and how large it would have to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scipy import stats

from align_eval.algorithms.crossed import components, contrast
from align_eval.algorithms.difference_power import (
    Design,
    Variances,
    detectable_difference,
    power_of_difference,
    prompts_needed,
    run_variances,
    seeds_needed,
)
from align_eval.effects import PRIMARY, compared
from align_eval.estimates import categories, table, why_not
from align_eval.study import Study

Json = dict[str, Any]

POWER = 0.8
"""The power that studies are planned for."""
ALPHA = 0.05
"""Level of the two-sided test."""
DIFFERENCES = (0.02, 0.05, 0.1)
"""True differences of win rates that the report plans for."""


def measured_design(study: Study) -> Json | None:
    """What this study could detect, from the spread that it measured itself.

    Args:
        study: The runs.

    Returns:
        seeds, prompts, the variances, the detectable difference and its range, `rows` for some true differences, and
        `text`; null where there are not two methods with two seeds or more on the same prompts, or nothing varies.
    """
    names = compared(study.methods)
    if len(names) != 2 or why_not(study):
        return None
    strata_P = categories(study.runs)
    tables = [table(study.of(name), PRIMARY) for name in names]
    parts = [components(one, strata_P) for one in tables]
    # Two seeds' spread says little; two methods' together say more. So both are planned for with their mean.
    residual = float(parts[0].residual), float(parts[1].residual)
    df = [len(one) - 1 for one in tables]
    between_runs = sum(n * float(part.runs) for n, part in zip(df, parts, strict=True)) / sum(df)
    prompts = float(contrast(tables, (1.0, -1.0), strata_P).prompt_variance) * len(strata_P)
    design = Design((len(tables[0]), len(tables[1])), len(strata_P), len(set(strata_P)))

    def with_runs(variance: float) -> Variances:
        seeds = max(0.0, variance - sum(residual) / 2.0 / design.prompts)
        return Variances((seeds, seeds), residual, prompts)

    variances = with_runs(between_runs)
    if sum(run_variances(variances, design.prompts)) == 0.0:
        return None
    ends = [between_runs * sum(df) / float(stats.chi2.ppf(tail, sum(df))) for tail in (0.975, 0.025)]
    detectable = detectable_difference(design, variances, POWER, ALPHA)
    found: Json = {
        "seeds": list(design.seeds),
        "prompts": design.prompts,
        "categories": design.strata,
        "power": POWER,
        "alpha": ALPHA,
        "run_sd": math.sqrt(between_runs),
        "run_sd_interval": [math.sqrt(end) for end in ends],
        "variances": {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(variances).items()},
        "detectable_difference": detectable,
        "detectable_range": [detectable_difference(design, with_runs(end), POWER, ALPHA) for end in ends],
        "rows": [plan_row(difference, design, variances) for difference in DIFFERENCES],
    }
    return {**found, "text": _text(found)}


def plan_row(
    difference: float, design: Design, variances: Variances, power: float = POWER, alpha: float = ALPHA
) -> Json:
    """What a design makes of a true difference, and what it would take to find it.

    Args:
        difference: True difference of win rates, above 0.
        design: Seeds and prompts.
        variances: The variances.
        power: Wanted power.
        alpha: Level of the two-sided test.

    Returns:
        difference; cohens_d, the same in standard deviations of the runs' win rates; power; seeds_needed with the
        design's prompts and prompts_needed with its seeds, null where no number is enough.
    """
    return {
        "difference": difference,
        "cohens_d": difference / run_sd(design, variances),
        "power": power_of_difference(difference, design, variances, alpha),
        "seeds_needed": seeds_needed(difference, design, variances, power, alpha),
        "prompts_needed": prompts_needed(difference, design, variances, power, alpha),
    }


def run_sd(design: Design, variances: Variances) -> float:
    """Standard deviation of the win rates of a method's runs, pooled over the methods: the unit of Cohen's d."""
    return math.sqrt(sum(run_variances(variances, design.prompts)) / 2.0)


def _text(found: Json) -> str:
    """What this design could detect, for readers."""
    first, second = found["seeds"]
    spread = f"With {first} + {second} seeds on {found['prompts']} prompts, and equally trained runs spread by "
    spread += f"{100 * found['run_sd']:.1f} points of win rate as here, "
    detectable, power = found["detectable_difference"], f"{100 * found['power']:.0f} % of studies"
    finds = "no true difference" if detectable is None else f"a true difference of {100 * detectable:.1f} points"
    text = f"{spread}{finds} is found in {power}. "
    low, high = (f"{100 * end:.1f} points" if end is not None else "none at all" for end in found["detectable_range"])
    if low != high:
        text += f"Seeds know their own spread only so well: it may make this anything from {low} to {high}. "
    return f"{text}{_needs(found['rows'], found['prompts'])}".strip()


def _needs(rows: Sequence[Json], prompts: int) -> str:
    parts = [
        f"{100 * row['difference']:.0f} points take {row['seeds_needed']} seeds a method"
        for row in rows
        if row["seeds_needed"] is not None
    ]
    return f"On {prompts} prompts, {', '.join(parts)}." if parts else ""
