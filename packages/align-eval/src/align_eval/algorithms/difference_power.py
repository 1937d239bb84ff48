"""What difference between two methods a number of seeds and prompts can find, from the variances at work."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special, stats

MOST = 100_000
"""Seeds or prompts beyond which nobody would go."""


def _on_the_unit_interval(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights on (0, 1)."""
    x, weights = np.polynomial.legendre.leggauss(nodes)
    return (x + 1.0) / 2.0, weights / 2.0


_CHANCE, _SHARE = _on_the_unit_interval(24)
_FEW_CHANCE, _FEW_SHARE = _on_the_unit_interval(6)


@dataclass(frozen=True)
class Variances:
    """Where the outcomes of a comparison vary; all are variances of a single outcome's win rate.

    Attributes:
        seeds: Between true seeds of the first and of the second method.
        residual: Of an outcome given its seed and prompt, of the first and of the second method.
        prompts: Of the difference between the methods from prompt to prompt, beyond chance.
    """

    seeds: tuple[float, float]
    residual: tuple[float, float]
    prompts: float = 0.0


@dataclass(frozen=True)
class Design:
    """How large a comparison is.

    Attributes:
        seeds: Of the first and of the second method, each at least 2.
        prompts: Shared by all runs, at least 2.
        strata: Categories of prompts.
    """

    seeds: tuple[int, int]
    prompts: int
    strata: int = 1


def outcome_variances(
    win_rate: float, seed_sd: tuple[float, float], prompt_share: float = 0.0, method_share: float = 0.0
) -> Variances:
    """The variances of two methods of about the same win rate.

    A win is a yes or a no, so its variance is w(1−w), ties lowering w; a seed's own win rate takes sd² of that, prompts
    that are hard or easy for every run take one share of the rest, prompts that suit one method another.

    Args:
        win_rate: w, wins among all pairs, inside (0, 1).
        seed_sd: Standard deviation of the true win rate between seeds, of each method.
        prompt_share: Share of a run's variance that belongs to the prompt whatever the method: the correlation of two
            methods' outcomes on one prompt.
        method_share: Share that belongs to prompt and method: by so much do outcomes of one method correlate more.

    Returns:
        The variances.

    Raises:
        ValueError: If a number is out of range, or a seed_sd is larger than the win rate allows.
    """
    total = win_rate * (1.0 - win_rate)
    inner = [total - sd * sd for sd in seed_sd]
    shares = prompt_share >= 0.0 and method_share >= 0.0 and prompt_share + method_share < 1.0
    if not 0.0 < win_rate < 1.0 or min(seed_sd) < 0.0 or min(inner) <= 0.0 or not shares:
        raise ValueError(
            f"outcome_variances: expected 0 < win_rate < 1, 0 <= seed_sd < sqrt(w(1-w)) and shares adding up to less "
            f"than 1, got win_rate {win_rate}, seed_sd {seed_sd}, shares {prompt_share} and {method_share}"
        )
    rest = 1.0 - prompt_share - method_share
    return Variances(
        (seed_sd[0] ** 2, seed_sd[1] ** 2), (inner[0] * rest, inner[1] * rest), method_share * (inner[0] + inner[1])
    )


def run_variances(variances: Variances, prompts: int) -> tuple[float, float]:
    """Variance between the measured win rates of a method's runs: of true seeds, and of chance on the prompts."""
    first, second = (
        seeds + residual / prompts for seeds, residual in zip(variances.seeds, variances.residual, strict=True)
    )
    return first, second


def power_of_difference(difference: float, design: Design, variances: Variances, alpha: float = 0.05) -> float:
    """Chance that the primary interval of the difference leaves 0 out.

    Given the two spreads between seeds and the part of the prompts that a study happens to see, the interval's half
    width is known (`crossed.Contrast`), and the difference is normal about the truth. So the power is the mean of a
    normal probability over what may be seen: χ² for the spreads, a normal cut off at 0 for the prompts; here by
    Gauss–Legendre quadrature over their quantiles.

    Args:
        difference: True difference.
        design: Seeds and prompts.
        variances: The variances.
        alpha: Level of the two-sided test.

    Returns:
        A probability.

    Raises:
        ValueError: If the design is too small.

    Source:
        Welch (1947) for the test; Hillis, Obuchowski & Berbaum (2011), "Power estimation for multireader ROC methods",
        for power from variance components of the same layout.
    """
    if min(design.seeds) < 2 or design.prompts - design.strata < 1:
        raise ValueError(f"power_of_difference: expected two seeds or more a method and some prompts, got {design}")
    true = [run / count for run, count in zip(run_variances(variances, design.prompts), design.seeds, strict=True)]
    seen = [
        part * stats.chi2.ppf(_CHANCE, count - 1) / (count - 1) for part, count in zip(true, design.seeds, strict=True)
    ]
    first, second = seen[0][:, None], seen[1][None, :]
    by_seeds = first + second
    df = by_seeds**2 / (first**2 / (design.seeds[0] - 1) + second**2 / (design.seeds[1] - 1))
    of_seeds = by_seeds * stats.t.isf(alpha / 2.0, df)
    of_prompts = stats.t.isf(alpha / 2.0, design.prompts - design.strata)
    se = math.sqrt(sum(true) + variances.prompts / design.prompts)
    power = 0.0
    for by_prompts, weight in zip(*_seen_prompt_variances(design, variances), strict=True):
        half = (of_seeds + by_prompts * of_prompts) / np.sqrt(by_seeds + by_prompts)
        found = special.ndtr((difference - half) / se) + special.ndtr((-difference - half) / se)
        power += weight * float(_SHARE @ found @ _SHARE)
    return power


def _seen_prompt_variances(design: Design, variances: Variances) -> tuple[np.ndarray, np.ndarray]:
    """What a study may estimate the prompts' part of the difference's variance to be, and the weight of each.

    The estimate is a difference of mean squares, nearly normal, and 0 where it would be negative. Even prompts that do
    not matter at all add a little on average.
    """
    df = design.prompts - design.strata
    chance = [part / count for part, count in zip(variances.residual, design.seeds, strict=True)]
    squares = (variances.prompts + sum(chance)) ** 2 / df
    squares += sum(part**2 / ((count - 1) * df) for part, count in zip(chance, design.seeds, strict=True))
    centre, spread = variances.prompts / design.prompts, math.sqrt(2.0 * squares) / design.prompts
    if spread == 0.0:
        return np.array([centre]), np.ones(1)
    none = float(special.ndtr(-centre / spread))
    values = centre + spread * special.ndtri(none + (1.0 - none) * _FEW_CHANCE)
    return np.append(values, 0.0), np.append((1.0 - none) * _FEW_SHARE, none)


def detectable_difference(
    design: Design, variances: Variances, wanted: float = 0.8, alpha: float = 0.05
) -> float | None:
    """The true difference that is found with a wanted power.

    Args:
        design: Seeds and prompts.
        variances: The variances, not all 0.
        wanted: Power, inside (alpha, 1).
        alpha: Level of the test.

    Returns:
        The difference; 0 if the test is that often positive without one, None if even one of 1 is not found: win rates
        cannot differ by more.

    Raises:
        ValueError: If the design is too small.
    """

    def short(difference: float) -> float:
        return power_of_difference(difference, design, variances, alpha) - wanted

    if short(0.0) >= 0.0:
        return 0.0
    return float(optimize.brentq(short, 0.0, 1.0)) if short(1.0) > 0.0 else None


def seeds_needed(
    difference: float, design: Design, variances: Variances, wanted: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Seeds a method, with the design's prompts, that find a difference with a wanted power; None beyond MOST."""
    return _smallest(
        lambda count: power_of_difference(difference, replace(design, seeds=(count, count)), variances, alpha) >= wanted
    )


def prompts_needed(
    difference: float, design: Design, variances: Variances, wanted: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Prompts, with the design's seeds, that find a difference with a wanted power; None beyond MOST."""
    least = design.strata + 1
    found = _smallest(
        lambda count: (
            power_of_difference(difference, replace(design, prompts=max(count, least)), variances, alpha) >= wanted
        )
    )
    return None if found is None else max(found, least)


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """The smallest count from 2 to MOST that is enough; more is never worse."""
    if not enough(MOST):
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
