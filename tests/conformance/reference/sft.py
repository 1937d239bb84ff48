"""Supervised fine-tuning on completions."""

from collections.abc import Sequence

import numpy as np


def loss(answers: Sequence[np.ndarray]) -> float:
    """Mean −log p over all response tokens of a batch, whatever answer they belong to; the prompt has no part in it."""
    return -sum(logp.sum() for logp in answers) / sum(len(logp) for logp in answers)


def perplexity(answers: Sequence[np.ndarray]) -> float:
    """exp of that mean."""
    return float(np.exp(loss(answers)))
