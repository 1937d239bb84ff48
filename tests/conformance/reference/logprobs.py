"""Log-probs of an answer given its prompt, and the entropy of what could have been said instead; nats."""

from collections.abc import Sequence

import numpy as np

from conformance.reference import transformer
from conformance.reference.transformer import Config, Lora, Weights


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log p over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def entropy(logp: np.ndarray) -> np.ndarray:
    """−Σ p log p over the last axis."""
    return -(np.exp(logp) * logp).sum(axis=-1)


def distributions(
    weights: Weights,
    config: Config,
    prompt: Sequence[int],
    response: Sequence[int],
    loras: Sequence[Lora] = (),
    temperature: float = 1.0,
) -> np.ndarray:
    """log p [T, V] of everything that could stand at each place of the answer."""
    rows = transformer.logits(weights, config, [*prompt, *response], loras)
    return log_softmax(rows[len(prompt) - 1 : -1] / temperature)


def of_response(logp: np.ndarray, response: Sequence[int]) -> np.ndarray:
    """log p [T] of what does stand there."""
    return np.array([logp[t, token] for t, token in enumerate(response)])
