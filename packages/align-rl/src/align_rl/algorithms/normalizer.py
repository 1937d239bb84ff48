"""The seed's ScoreNormalizer: running mean and std by exponential averages, output on [1, 5]."""

from dataclasses import dataclass

import mlx.core as mx


@dataclass(frozen=True)
class ScoreNormalizer:
    """Running statistics of reward scores.

    Attributes:
        mean, std: the running values; the seed starts at 3 and 1.
        alpha: weight of the past in each update.
    """

    mean: float = 3.0
    std: float = 1.0
    alpha: float = 0.99

    def update(self, scores: mx.array) -> "ScoreNormalizer":
        """Give the statistics after seeing a batch of scores (any shape)."""
        keep = self.alpha
        mean = keep * self.mean + (1 - keep) * scores.mean().item()
        std = keep * self.std + (1 - keep) * mx.sqrt(scores.var()).item()
        return ScoreNormalizer(mean, std, keep)

    def normalize(self, scores: mx.array) -> mx.array:
        """Map scores to 3 + (score − mean) / std, clipped to [1, 5]; shape kept."""
        return mx.clip(3.0 + (scores - self.mean) / max(self.std, 1e-6), 1.0, 5.0)
