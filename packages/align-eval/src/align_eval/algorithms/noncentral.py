"""The non-central t distribution, exact where scipy's series gives NaN (|delta| above about 30)."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special, stats

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)


def noncentral_t_cdf(t: float, df: float, delta: float) -> float:
    """P(T ≤ t) for T = (Z + delta) / S, Z standard normal, S = sqrt(χ²_df / df) independent of it.

    Conditioned on S the probability is Φ(t·S − delta); its mean over the density of S is one smooth integral.

    Args:
        t: The point.
        df: Degrees of freedom, above 0.
        delta: Non-centrality.

    Returns:
        A probability, absolute error below 1e-9.

    Raises:
        ValueError: If t or delta is not finite or df is not positive.

    Source:
        Johnson, Kotz & Balakrishnan (1995), "Continuous Univariate Distributions" 2, chapter 31.
    """
    if not (math.isfinite(t) and math.isfinite(delta)) or df <= 0:
        raise ValueError(f"noncentral_t_cdf: expected finite t and delta and df > 0, got {t}, {delta}, {df}")
    low, high = (math.sqrt(float(x) / df) for x in stats.chi2.ppf([1e-13, 1.0 - 1e-13], df))
    # Φ(t·s − delta) steps within ± 8/|t| of s = delta/t: cut there, so that no step falls between nodes.
    cuts = {low, high}
    if t != 0.0:
        cuts |= {s for k in (-8.0, 0.0, 8.0) if low < (s := (delta + k) / t) < high}
    # Integrate over x = log s, where the density is smooth down to s = 0; log density of S from that of χ².
    edges = np.log(sorted(cuts))
    centre_E, half_E = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    x_EN = centre_E[:, None] + half_E[:, None] * _NODES
    constant = math.log(2.0) + (df / 2) * math.log(df / 2) - math.lgamma(df / 2)
    density_EN = np.exp(constant + df * x_EN - df / 2 * np.exp(2 * x_EN))
    parts_EN = half_E[:, None] * _WEIGHTS * density_EN * special.ndtr(t * np.exp(x_EN) - delta)
    return min(1.0, max(0.0, float(parts_EN.sum())))


def noncentral_t_interval(t: float, df: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the non-centrality for which an observed t is not surprising.

    The low end is the delta under which a t this large or larger has probability (1 − confidence)/2,
    the high end the one under which a t this small or smaller has it.

    Args:
        t: The observed statistic.
        df: Its degrees of freedom, above 0.
        confidence: Two-sided coverage, inside (0, 1).

    Returns:
        (low, high).

    Raises:
        ValueError: If t is not finite or df is not positive.

    Source:
        Steiger & Fouladi (1997), "Noncentrality interval estimation".
    """
    if not math.isfinite(t) or df <= 0:
        raise ValueError(f"noncentral_t_interval: expected a finite t and df > 0, got {t} and {df}")
    tail = (1.0 - confidence) / 2.0

    def solve(probability: float) -> float:
        def gap(delta: float) -> float:
            return noncentral_t_cdf(t, df, delta) - probability

        # P(T <= t | delta) falls as delta grows; widen the bracket until it holds the root.
        reach = 4.0 + abs(t)
        low, high = t - reach, t + reach
        while gap(low) < 0.0:
            low -= reach
        while gap(high) > 0.0:
            high += reach
        return float(optimize.brentq(gap, low, high, xtol=1e-9))

    return solve(1.0 - tail), solve(tail)
