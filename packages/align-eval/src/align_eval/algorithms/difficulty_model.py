"""A logistic model of preferences in which each instruction has a difficulty of its own, integrated out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

NODES = np.linspace(-5.0, 5.0, 51)
"""Places z, in standard deviations of the difficulty, over which it is summed."""

MOST_SD = 10.0
"""Largest standard deviation of the difficulty, in logits."""


class DifficultyModel:
    """logit P = θ_m + φ_m·x + σ·z_i with z_i ~ N(0, 1) of instruction i; θ and φ have normal priors.

    Parameters are one vector (θ_1 … θ_M, φ_1 … φ_M, σ); σ is among them only where at least half of the instructions
    stand in several pairs, since one pair cannot tell it.

    Args:
        y_N: Preference of each pair, in [0, 1].
        x_N: Its regressor.
        models_N: Which model, codes 0 … M − 1, each present.
        groups_N: Which instruction, codes 0 … G − 1, each present.
        strength_sd: Prior standard deviation of θ around 0.
        slope_mean: Prior mean of every φ.
        slope_covariance_MM: Prior covariance of the φ.
        difficulty_sd: σ where it is not estimated.
    """

    def __init__(
        self,
        y_N: Array,
        x_N: Array,
        models_N: Codes,
        groups_N: Codes,
        *,
        strength_sd: float,
        slope_mean: float,
        slope_covariance_MM: Array,
        difficulty_sd: float,
    ) -> None:
        order_N = np.argsort(groups_N, kind="stable")  # the pairs of an instruction stand together
        self.y_N, self.x_N = y_N[order_N], x_N[order_N]
        self.models_N, self.groups_N = models_N[order_N], groups_N[order_N]
        self.pairs_M, self.pairs_G = np.bincount(models_N), np.bincount(groups_N)
        self.starts_G = np.cumsum(self.pairs_G) - self.pairs_G
        self.count = count = self.pairs_M.size
        self.slope_mean, self.fixed_sd = slope_mean, difficulty_sd
        self.estimates_sd = bool(2 * (self.pairs_G > 1).sum() >= self.pairs_G.size > 1)
        self.size = 2 * count + self.estimates_sd
        self.nodes_Q = NODES if self.estimates_sd or difficulty_sd > 0 else np.zeros(1)
        self.log_weights_Q = -0.5 * self.nodes_Q**2 - np.log(np.exp(-0.5 * self.nodes_Q**2).sum())
        self.precision = np.zeros((self.size, self.size))
        self.precision[:count, :count] = np.eye(count) / strength_sd**2
        self.precision[count : 2 * count, count : 2 * count] = np.linalg.inv(slope_covariance_MM)

    def fit(self) -> Array:
        """Return the parameters at the posterior mode."""
        start = self._prior_mean()
        start[2 * self.count :] = 1.0
        bounds = [(None, None)] * (2 * self.count) + [(0.0, MOST_SD)] * self.estimates_sd
        options = {"maxiter": 2000, "maxfun": 100_000, "ftol": 1e-13, "gtol": 1e-7}
        found = minimize(self.loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return np.asarray(found.x, dtype=np.float64)

    def sd(self, params: Array) -> float:
        """Standard deviation of the difficulty."""
        return float(params[-1]) if self.estimates_sd else self.fixed_sd

    def loss(self, params: Array) -> tuple[float, Array]:
        """Negative log posterior and its gradient."""
        off = params - self._prior_mean()
        chance_NQ, likelihood_G, weights_GQ = self._posterior(params)
        residual_NQ = (self.y_N[:, None] - chance_NQ) * weights_GQ[self.groups_N]
        residual_N = residual_NQ.sum(axis=1)
        gradient = self.precision @ off
        gradient[: self.count] -= np.bincount(self.models_N, residual_N, self.count)
        gradient[self.count : 2 * self.count] -= np.bincount(self.models_N, residual_N * self.x_N, self.count)
        if self.estimates_sd:
            gradient[-1] -= float((residual_NQ @ self.nodes_Q).sum())
        return 0.5 * float(off @ self.precision @ off) - float(likelihood_G.sum()), gradient

    def rates(self, params: Array) -> Array:
        """Mean of E[P at x = 0 | pairs] over the pairs of each model, (M,)."""
        return np.asarray(np.bincount(self.models_N, self._predictions(params), self.count) / self.pairs_M)

    def errors(self, params: Array) -> Array:
        """Standard errors of `rates` (M,), instructions being the sample; NaN for a model with fewer than two.

        The influence of instruction i on a rate is its own part of the mean and, by way of the parameters, its score
        times H⁻¹ times the rate's slope; the prior counts as one more observation.
        """
        scores, hessian, slopes = self.derivatives(params)
        to_rates = np.linalg.pinv(hessian) @ slopes.T
        influence_GM = scores @ to_rates
        spread_N = (self._predictions(params) - self.rates(params)[self.models_N]) / self.pairs_M[self.models_N]
        np.add.at(influence_GM, (self.groups_N, self.models_N), spread_N)
        groups = self.pairs_G.size
        variance_M = (influence_GM**2).sum(axis=0) * groups / max(1, groups - 1)
        variance_M += (to_rates * (self.precision @ to_rates)).sum(axis=0)
        seen_M = np.bincount(np.unique(np.stack([self.models_N, self.groups_N]), axis=1)[0], minlength=self.count)
        return np.where(seen_M > 1, np.sqrt(variance_M), np.nan)

    def derivatives(self, params: Array) -> tuple[Array, Array, Array]:
        """Score of each instruction (G, parameters), Hessian of the loss, and slopes of the rates (M, parameters).

        Given z all three are those of a plain logistic regression; that z is not given takes its variance over the
        posterior off the Hessian, and adds its covariance to the slopes (Louis's identity).
        """
        chance_NQ, _, weights_GQ = self._posterior(params)
        weights_NQ = weights_GQ[self.groups_N]
        residual_NQ = self.y_N[:, None] - chance_NQ
        scores = np.zeros((self.pairs_G.size, self.size))
        residual_N = (residual_NQ * weights_NQ).sum(axis=1)
        np.add.at(scores, (self.groups_N, self.models_N), residual_N)
        np.add.at(scores, (self.groups_N, self.count + self.models_N), residual_N * self.x_N)
        if self.estimates_sd:
            np.add.at(scores[:, -1], self.groups_N, (residual_NQ * weights_NQ) @ self.nodes_Q)
        hessian = self.precision + self._given(chance_NQ * (1.0 - chance_NQ) * weights_NQ, self.x_N)
        equal_NQ = self._equal(params)[self.models_N]
        slopes = self._given(equal_NQ * (1.0 - equal_NQ) * weights_NQ, np.zeros_like(self.x_N))[: self.count]
        if self.nodes_Q.size > 1:
            for group, start in enumerate(self.starts_G):
                rows = slice(start, start + self.pairs_G[group])
                models, x, residual, weights_Q = (
                    self.models_N[rows],
                    self.x_N[rows],
                    residual_NQ[rows].T,
                    weights_GQ[group],
                )
                parts = [residual, residual * x]
                columns = [models, self.count + models]
                if self.estimates_sd:
                    parts.append((residual.sum(axis=1) * self.nodes_Q)[:, None])
                    columns.append(np.array([self.size - 1]))
                at, score_QC = np.concatenate(columns), np.concatenate(parts, axis=1)
                off_QC = (score_QC - weights_Q @ score_QC) * weights_Q[:, None]
                np.add.at(hessian, np.ix_(at, at), -off_QC.T @ score_QC)
                np.add.at(slopes, np.ix_(models, at), equal_NQ[rows] @ off_QC)
        return scores, hessian, slopes / self.pairs_M[:, None]

    def _given(self, weight_NQ: Array, x_N: Array) -> Array:
        """Σ weight·f·fᵀ over pairs and nodes for the features f = (1 at θ_m, x at φ_m, z at σ)."""
        found, count, m = np.zeros((self.size, self.size)), self.count, np.arange(self.count)
        weight_N = weight_NQ.sum(axis=1)
        found[m, m] = np.bincount(self.models_N, weight_N, count)
        found[m, count + m] = found[count + m, m] = np.bincount(self.models_N, weight_N * x_N, count)
        found[count + m, count + m] = np.bincount(self.models_N, weight_N * x_N**2, count)
        if self.estimates_sd:
            z_N = weight_NQ @ self.nodes_Q
            found[m, -1] = found[-1, m] = np.bincount(self.models_N, z_N, count)
            found[count + m, -1] = found[-1, count + m] = np.bincount(self.models_N, z_N * x_N, count)
            found[-1, -1] = float((weight_NQ @ self.nodes_Q**2).sum())
        return found

    def _prior_mean(self) -> Array:
        mean = np.zeros(self.size)
        mean[self.count : 2 * self.count] = self.slope_mean
        return mean

    def _posterior(self, params: Array) -> tuple[Array, Array, Array]:
        """P of each pair and node (N, Q), log-likelihood of each instruction (G,), weight of each node (G, Q)."""
        theta_M, phi_M = params[: self.count], params[self.count : 2 * self.count]
        fixed_N = theta_M[self.models_N] + phi_M[self.models_N] * self.x_N
        logits_NQ = fixed_N[:, None] + self.sd(params) * self.nodes_Q
        pairs_NQ = self.y_N[:, None] * logits_NQ - np.logaddexp(0.0, logits_NQ)
        joint_GQ = self.log_weights_Q + np.add.reduceat(pairs_NQ, self.starts_G, axis=0)
        top_G = joint_GQ.max(axis=1)
        weights_GQ = np.exp(joint_GQ - top_G[:, None])
        sums_G = weights_GQ.sum(axis=1)
        return expit(logits_NQ), top_G + np.log(sums_G), weights_GQ / sums_G[:, None]

    def _equal(self, params: Array) -> Array:
        """P at x = 0 of each model and node (M, Q)."""
        return np.asarray(expit(params[: self.count, None] + self.sd(params) * self.nodes_Q))

    def _predictions(self, params: Array) -> Array:
        """E[P at x = 0 | pairs] of each pair (N,)."""
        weights_GQ = self._posterior(params)[2]
        return np.asarray((self._equal(params)[self.models_N] * weights_GQ[self.groups_N]).sum(axis=1))
