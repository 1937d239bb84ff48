"""Means and differences over seeds × prompts, with an interval that holds for other seeds and other prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize, stats

Array = np.ndarray[Any, Any]

LEAST = 1e-15
"""Tails smaller than this count as 0; far beyond it Student's quantile has no more digits."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of methods' means, and what its uncertainty is made of.

    The arrays have the leading axes of the outcomes, and are 0-dimensional for one study.

    Attributes:
        value: The contrast.
        seed_variance: Its variance from the spread between seeds: Σ k²·s²/S over the methods.
        seed_df: Degrees of freedom of that: S − 1 for one method, Welch's for two; NaN where no seed differs.
        prompt_variance: Its variance from prompts that differ beyond chance; 0 where none does.
        prompt_df: Degrees of freedom of that: prompts − strata.
    """

    value: Array
    seed_variance: Array
    seed_df: Array
    prompt_variance: Array
    prompt_df: int

    @property
    def se(self) -> Array:
        """Standard error of `value`."""
        return np.sqrt(self.seed_variance + self.prompt_variance)

    @property
    def on_these_prompts(self) -> Contrast:
        """The same for other seeds but just these prompts: Student's or Welch's t on the seeds' means."""
        return replace(self, prompt_variance=np.zeros_like(self.prompt_variance))

    def quantile(self, tail: float) -> Array:
        """Student's quantile for an upper tail: those of seeds and prompts, weighted by their variances.

        Cochran's approximation. Without a part from the prompts it is Student's (Welch's) own quantile. One number of
        degrees of freedom for the sum (Satterthwaite) would have to be estimated from the few seeds themselves, and
        comes out too high just when their spread comes out too low.

        Args:
            tail: Probability above the quantile.

        Returns:
            The quantile; 0 where there is no spread at all.

        Source:
            Cochran (1964), "Approximate significance levels of the Behrens-Fisher test".
        """
        by_prompts = stats.t.isf(tail, self.prompt_df)
        by_seeds = np.where(self.seed_variance > 0.0, stats.t.isf(tail, self.seed_df), 0.0)
        total = self.seed_variance + self.prompt_variance
        with np.errstate(invalid="ignore"):
            mixed = (self.seed_variance * by_seeds + self.prompt_variance * by_prompts) / total
        return np.where(total > 0.0, mixed, 0.0)

    def interval(self, confidence: float = 0.95) -> tuple[Array, Array]:
        """Two-sided interval value ± quantile·se; of no width where nothing varies.

        Args:
            confidence: Its coverage, inside (0, 1).
        """
        half = self.quantile((1.0 - confidence) / 2.0) * self.se
        return self.value - half, self.value + half

    def tail(self, point: float) -> float | None:
        """How far in a tail the value of one study lies, were `point` the truth.

        Args:
            point: The supposed true value.

        Returns:
            The one-sided p-value, at most ½, at which the interval just reaches `point`; None without any spread.
        """
        se = float(self.se)
        if se == 0.0:
            return None
        reach = abs(float(self.value) - point) / se
        # The quantile falls from far out to 0 as the tail grows to ½.
        if float(self.quantile(LEAST)) <= reach:
            return 0.0
        found = optimize.brentq(
            lambda x: float(self.quantile(math.exp(x))) - reach, math.log(LEAST), math.log(0.5), xtol=1e-12
        )
        return math.exp(found)


@dataclass(frozen=True)
class Components:
    """Where the outcomes of one method vary; arrays with the leading axes of the outcomes.

    Attributes:
        runs: Variance of the seeds' means, s²: that of true seeds plus residual / P.
        seeds: Variance of true seeds, runs − residual / P, not below 0.
        residual: Variance of an outcome given its seed and its prompt: chance of the sampler and the judge.
    """

    runs: Array
    seeds: Array
    residual: Array


def contrast(outcomes: Sequence[Array], coefficients: Sequence[float], strata_P: Sequence[Any] | Array) -> Contrast:
    """Σ k·mean over methods, as a statement about other seeds and other prompts of the same categories.

    Student's t on the seeds' means treats the prompts as all there are. Runs share their prompts, so a lucky choice of
    prompts moves every seed alike and the spread between seeds never shows it. With D_p the contrast on prompt p (each
    method averaged over its S seeds), e² the residual mean square of the seeds × prompts table and s² the variance of
    the seeds' means,

        Var = Σ_m k_m²·s_m²/S_m  +  max(0, Σ_h (P_h/P)²·(Var_h(D_p) − Σ_m k_m²·e²_mh/S_m) / P_h),  h the strata.

    The first part alone gives Student's interval for one method and Welch's for a difference; the second is what the
    prompts add to it. In a difference, whatever a prompt does to both methods alike cancels in D_p.

    Args:
        outcomes: One array (…, S, P) a method: seeds × prompts, the prompts the same and in the same order; S may
            differ between methods and is at least 2.
        coefficients: k, one a method: (1,) for a mean, (1, −1) for a difference.
        strata_P: Category of each prompt. A category with a single prompt has no spread; then all are one stratum.

    Returns:
        The contrast and its variances.

    Raises:
        ValueError: If shapes do not fit, or there are fewer than two seeds or prompts.

    Source:
        Hillis (2007), "A comparison of denominator degrees of freedom methods for multiple observer ROC analysis", has
        the same layout, with readers for seeds and cases for prompts; Welch (1947).
    """
    tables = [np.asarray(table, dtype=np.float64) for table in outcomes]
    groups = _strata(tables, len(coefficients), strata_P)
    prompts = tables[0].shape[-1]
    weighted = list(zip(coefficients, tables, strict=True))
    value = np.asarray(sum(k * table.mean(axis=(-2, -1)) for k, table in weighted))
    rounding = (1e-12 * max(float(np.abs(table).max()) for table in tables)) ** 2
    parts = [
        _above(rounding, k * k * table.mean(axis=-1).var(axis=-1, ddof=1)) / table.shape[-2] for k, table in weighted
    ]
    seed_variance = np.asarray(sum(parts))
    squares = sum(part**2 / (table.shape[-2] - 1) for part, table in zip(parts, tables, strict=True))
    with np.errstate(invalid="ignore"):
        seed_df = np.asarray(seed_variance**2 / squares)
    difference_P = np.asarray(sum(k * table.mean(axis=-2) for k, table in weighted))
    beyond_chance = np.zeros_like(value)
    for group in groups:
        chance = sum(k * k * _residual(table[..., group]) / table.shape[-2] for k, table in weighted)
        spread = difference_P[..., group].var(axis=-1, ddof=1)
        beyond_chance = beyond_chance + group.size * (spread - chance) / prompts**2
    return Contrast(value, seed_variance, seed_df, _above(rounding, beyond_chance), prompts - len(groups))


def components(outcomes_SP: Array, strata_P: Sequence[Any] | Array) -> Components:
    """Variance between runs, between true seeds, and left over, of one method.

    Args:
        outcomes_SP: (…, S, P), at least two seeds and two prompts.
        strata_P: Category of each prompt.

    Returns:
        The components, by the expected mean squares of the seeds × prompts table within strata.

    Raises:
        ValueError: As `contrast`.

    Source:
        Searle, Casella & McCulloch (1992), "Variance Components", chapter 4.
    """
    table = np.asarray(outcomes_SP, dtype=np.float64)
    groups = _strata([table], 1, strata_P)
    prompts = table.shape[-1]
    runs = np.asarray(table.mean(axis=-1).var(axis=-1, ddof=1))
    residual = np.asarray(sum(group.size / prompts * _residual(table[..., group]) for group in groups))
    return Components(runs, np.maximum(runs - residual / prompts, 0.0), residual)


def _above(rounding: float, variance: Array) -> Array:
    """The variance, or 0 where it is negative or of the size of rounding: equal seeds' means may be 1e-17 apart."""
    return np.where(variance > rounding, variance, 0.0)


def _residual(table_SP: Array) -> Array:
    """Mean square of what neither seed nor prompt explains, with (S−1)(P−1) degrees of freedom."""
    seeds, prompts = table_SP.shape[-2:]
    rest = table_SP - table_SP.mean(axis=-1, keepdims=True) - table_SP.mean(axis=-2, keepdims=True)
    rest = rest + table_SP.mean(axis=(-2, -1), keepdims=True)
    return np.asarray((rest**2).sum(axis=(-2, -1)) / ((seeds - 1) * (prompts - 1)))


def _strata(tables: Sequence[Array], coefficients: int, strata_P: Sequence[Any] | Array) -> list[Array]:
    """Indices of the prompts of each stratum; the shapes are checked first."""
    labels_P = np.asarray(strata_P)
    shapes = [table.shape for table in tables]
    fits = all(
        len(shape) >= 2 and shape[-2] >= 2 and shape[-1] == labels_P.size >= 2 and shape[:-2] == shapes[0][:-2]
        for shape in shapes
    )
    if not tables or len(tables) != coefficients or not fits:
        raise ValueError(
            "crossed: expected one coefficient and one array (…, S ≥ 2, P ≥ 2) a method, all over the same prompts, "
            f"and one stratum a prompt; got {coefficients} coefficients, shapes {shapes}, {labels_P.size} strata"
        )
    groups = [np.flatnonzero(labels_P == label) for label in np.unique(labels_P)]
    return groups if min(group.size for group in groups) >= 2 else [np.arange(labels_P.size)]
