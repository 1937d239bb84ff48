"""Generalised advantage estimation by its definition, not by its recursion. Source: arXiv 1506.02438, eq. 11–16."""

import numpy as np


def k_step(rewards: np.ndarray, values: np.ndarray, t: int, k: int, gamma: float) -> float:
    """Σ_{i<k} γ^i r_{t+i} + γ^k V(s_{t+k}) − V(s_t); nothing is to come behind the last token."""
    ahead = gamma**k * values[t + k] if t + k < len(values) else 0.0
    return sum(gamma**i * rewards[t + i] for i in range(k)) + ahead - values[t]


def advantages(rewards: np.ndarray, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """The average of the k-step estimates with weights (1 − λ) λ^(k−1); all that is left lies on the longest."""
    length = len(rewards)
    found = np.zeros(length)
    for t in range(length):
        longest = length - t
        found[t] = lam ** (longest - 1) * k_step(rewards, values, t, longest, gamma)
        for k in range(1, longest):
            found[t] += (1 - lam) * lam ** (k - 1) * k_step(rewards, values, t, k, gamma)
    return found
