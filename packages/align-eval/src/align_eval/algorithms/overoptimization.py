"""How reward grows and falls with the distance from the reference policy: the two curves of Gao et al."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Form = Literal["bon", "rl"]


@dataclass(frozen=True)
class Fit:
    """A fitted curve r(d), d = √KL.

    Attributes:
        form: ``bon``: r = d(α − β·d); ``rl``: r = d(α − β·log d).
        alpha: Slope of the gain at first.
        beta: How much of it is lost; at 0 or below the curve has no peak.
        rmse: Root of the mean squared residual, in units of r.
        n: Points.
    """

    form: Form
    alpha: float
    beta: float
    rmse: float
    n: int

    def gain(self, distance: float) -> float:
        """r at a distance; 0 at 0."""
        if distance <= 0.0:
            return 0.0
        return distance * (self.alpha - self.beta * (distance if self.form == "bon" else math.log(distance)))

    @property
    def peak(self) -> tuple[float, float] | None:
        """(d, r) where the curve turns; None if it does not turn downwards at any finite d > 0.

        ``bon``: r' = α − 2βd = 0 at d = α/2β, where r = α²/4β. ``rl``: r' = α − β log d − β = 0 at
        d = exp(α/β − 1), where r = β·d.
        """
        if self.beta <= 0.0 or (self.form == "bon" and self.alpha <= 0.0):
            return None
        exponent = self.alpha / self.beta - 1.0
        if self.form == "bon":
            return self.alpha / (2 * self.beta), self.alpha**2 / (4 * self.beta)
        if exponent > 700.0:  # farther than a double reaches
            return None
        distance = math.exp(exponent)
        return distance, self.beta * distance


def fit(distances: Sequence[float], gains: Sequence[float], form: Form) -> Fit | None:
    """Fit a curve by least squares; it is linear in α and β, and goes through the origin.

    Args:
        distances: d = √KL, KL in nats a response token (a multiple of the KL of whole answers changes α and β only).
        gains: Reward minus that of the reference; points at d = 0 tell nothing and are left out.
        form: Which curve.

    Returns:
        The fit; None with fewer than three points, or where they do not tell α from β.

    Raises:
        ValueError: The lengths differ, a number is not finite, or a distance is negative.

    Source:
        Gao, Schulman, Hilton, "Scaling laws for reward model overoptimization", arXiv 2210.10760, section 3.
    """
    d_N, r_N = np.asarray(distances, np.float64), np.asarray(gains, np.float64)
    if d_N.shape != r_N.shape or d_N.ndim != 1:
        raise ValueError(f"fit: expected two equal flat lists, got {d_N.shape} and {r_N.shape}")
    if not (np.isfinite(d_N).all() and np.isfinite(r_N).all()) or (d_N < 0).any():
        raise ValueError("fit: expected finite numbers and distances of 0 or more")
    d_N, r_N = d_N[d_N > 0], r_N[d_N > 0]
    if d_N.size < 3:
        return None
    bend_N = d_N if form == "bon" else np.log(d_N)
    design_N2 = np.stack([d_N, -d_N * bend_N], axis=1)
    (alpha, beta), _, rank, _ = np.linalg.lstsq(design_N2, r_N, rcond=1e-10)
    if rank < 2:
        return None
    residual_N = r_N - design_N2 @ [alpha, beta]
    return Fit(form, float(alpha), float(beta), float(np.sqrt((residual_N**2).mean())), int(d_N.size))


def jackknife_beta(
    runs: Sequence[tuple[Sequence[float], Sequence[float]]], form: Form, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Interval of β with the run as the unit: points of one run go together and count as one.

    Leaving each of the m runs out in turn gives pseudo-values m·β − (m − 1)·β₍ᵢ₎; the interval is Student's t on them
    around their mean.

    Args:
        runs: (distances, gains) of each run.
        form: Which curve.
        confidence: Two-sided coverage.

    Returns:
        The interval; None for fewer than three runs, or where a fit does not exist.

    Source:
        Tukey (1958), "Bias and confidence in not quite large samples".
    """
    m = len(runs)
    if m < 3:
        return None

    def beta(chosen: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float | None:
        found = fit([d for ds, _ in chosen for d in ds], [r for _, rs in chosen for r in rs], form)
        return None if found is None else found.beta

    whole, parts = beta(runs), [beta([*runs[:i], *runs[i + 1 :]]) for i in range(m)]
    if whole is None or any(part is None for part in parts):
        return None
    pseudo_M = np.array([m * whole - (m - 1) * part for part in parts if part is not None])
    half = float(stats.t.ppf(0.5 + confidence / 2, m - 1) * pseudo_M.std(ddof=1) / math.sqrt(m))
    return float(pseudo_M.mean()) - half, float(pseudo_M.mean()) + half
