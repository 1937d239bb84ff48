"""Which evaluation point becomes the published checkpoint: RL chooses by this rule, the report tries the others."""

from dataclasses import dataclass
from typing import Literal

Rule = Literal["perplexity", "reward"]


@dataclass(frozen=True)
class Point:
    """An evaluation point: the iteration and what was measured there on the validation split."""

    iteration: int
    kl: float
    perplexity: float
    reward: float
    target_kl: float

    @property
    def passes(self) -> bool:
        """Whether KL is below the target in force at that iteration."""
        return self.kl < self.target_kl


def better(rule: Rule, candidate: Point, best: Point | None) -> bool:
    """Say whether `candidate` should replace `best`.

    The KL gate comes first: a point that passes beats one that does not; of two that fail, the lower KL wins;
    of two that pass, the lower perplexity (the seed's rule) or the higher reward.
    """
    if best is None:
        return True
    if candidate.passes != best.passes:
        return candidate.passes
    if not candidate.passes:
        return candidate.kl < best.kl
    return candidate.perplexity < best.perplexity if rule == "perplexity" else candidate.reward > best.reward
