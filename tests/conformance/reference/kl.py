"""KL(actor ‖ reference): exactly, and from tokens sampled by the actor. Source: joschu.net/blog/kl-approx."""

import numpy as np


def exact(logp: np.ndarray, logq: np.ndarray) -> np.ndarray:
    """Σ p log(p / q) over the last axis."""
    return (np.exp(logp) * (logp - logq)).sum(axis=-1)


def k1(logp: np.ndarray, logq: np.ndarray) -> np.ndarray:
    """−log r with r = q / p."""
    return -np.log(np.exp(logq) / np.exp(logp))


def k3(logp: np.ndarray, logq: np.ndarray) -> np.ndarray:
    """(r − 1) − log r."""
    ratio = np.exp(logq) / np.exp(logp)
    return (ratio - 1.0) - np.log(ratio)
