"""AdamW behind a joint gradient clip. Sources: arXiv 1412.6980 algorithm 1; 1711.05101 algorithm 2; 1211.5063."""

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def clip(gradients: Arrays, limit: float) -> dict[str, np.ndarray]:
    """Scale all gradients together so that their joint norm is at most `limit`."""
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    return {name: g * min(1.0, limit / norm) for name, g in gradients.items()}


class AdamW:
    """Moments with bias correction; the decay acts on the weights, not on the gradient."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, decay: float = 0.0):
        self.betas, self.epsilon, self.decay, self.steps = (beta1, beta2), epsilon, decay, 0
        self.first: dict[str, np.ndarray] = {}
        self.second: dict[str, np.ndarray] = {}

    def step(self, params: Arrays, gradients: Arrays, rates: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Give the parameters after a step; `rates` holds a learning rate for each name."""
        self.steps += 1
        (b1, b2), after = self.betas, {}
        for name, g in gradients.items():
            self.first[name] = b1 * self.first.get(name, 0.0) + (1 - b1) * g
            self.second[name] = b2 * self.second.get(name, 0.0) + (1 - b2) * g**2
            mean, square = self.first[name] / (1 - b1**self.steps), self.second[name] / (1 - b2**self.steps)
            move = mean / (np.sqrt(square) + self.epsilon) + self.decay * params[name]
            after[name] = params[name] - rates[name] * move
        return after
