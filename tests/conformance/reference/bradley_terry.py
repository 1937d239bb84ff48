"""Preference by scores. Bradley & Terry 1952; arXiv 2203.02155 eq. 1; margin 2307.09288 eq. 2; centering 2312.09244."""

from collections.abc import Sequence

import numpy as np

from conformance.reference import transformer
from conformance.reference.transformer import Config, Lora, Weights


def score(
    weights: Weights, config: Config, ids: Sequence[int], loras: Sequence[Lora], weight: np.ndarray, bias: float
) -> float:
    """The scalar head at the last token of prompt and answer."""
    return float(transformer.hidden(weights, config, ids, loras)[-1] @ weight + bias)


def sigmoid(x: np.ndarray | float) -> np.ndarray | float:
    """1 / (1 + e^−x)."""
    return np.exp(-surprise(x))


def surprise(x: np.ndarray | float) -> np.ndarray | float:
    """−log σ(x) = log(e^0 + e^−x)."""
    return np.logaddexp(0.0, -x)


def loss(
    chosen: np.ndarray, rejected: np.ndarray, gaps: np.ndarray, margin: float = 0.0, centering: float = 0.0
) -> float:
    """Mean −log P(chosen preferred) + centering · (r_c + r_r)²."""
    return float(np.mean(surprise(chosen - rejected - margin * gaps) + centering * (chosen + rejected) ** 2))


def accuracy(margins: np.ndarray) -> float:
    """Share of pairs in the right order; an equal pair is half right."""
    return sum(1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins) / len(margins)


def calibration_error(margins: np.ndarray, temperature: float, bins: int) -> float:
    """ECE (arXiv 1706.04599 eq. 3): Σ n_b/N |accuracy_b − confidence_b| over equal bins of confidence in [½, 1]."""
    confidence = np.array([max(sigmoid(m / temperature), sigmoid(-m / temperature)) for m in margins])
    error = 0.0
    for b in range(bins):
        low, high = 0.5 + b / (2 * bins), 0.5 + (b + 1) / (2 * bins)
        inside = (confidence >= low) & ((confidence < high) | (b == bins - 1))
        if inside.any():
            error += inside.sum() / len(margins) * abs(accuracy(margins[inside]) - confidence[inside].mean())
    return error


def best_temperature(margins: np.ndarray) -> float:
    """The temperature with the least mean −log σ(m / T), found by trying them all, ever more finely."""
    low, high = np.log(1e-2), np.log(1e2)
    for _ in range(12):
        tried = np.linspace(low, high, 41)
        found = int(np.argmin([np.mean(surprise(margins / np.exp(t))) for t in tried]))
        low, high = tried[max(found - 1, 0)], tried[min(found + 1, 40)]
    return float(np.exp((low + high) / 2))
