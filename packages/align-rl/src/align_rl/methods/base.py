"""What the loop asks of a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx

from align_mlx.adapters import Params
from align_mlx.batching import Batch, pad
from align_mlx.chat import Tokens
from align_mlx.resident import Resident
from align_mlx.world import World
from align_rl.rollout import Rollout


@dataclass(frozen=True)
class Experience:
    """A rollout made ready for updates; every array has one row an answer.

    Attributes:
        rows: the tokens.
        batch: the same, padded.
        old_logprobs_BT: of the policy that sampled, teacher-forced.
        advantages_BT: what each token is credited with.
        returns_BT, old_values_BT: PPO's value targets and values; zeros for GRPO.
        learn_BT: 1 for the tokens that give a gradient: the batch's mask, less truncated answers if those are masked.
        facts: numbers for the log.
    """

    rows: Sequence[Tokens]
    batch: Batch
    old_logprobs_BT: mx.array
    advantages_BT: mx.array
    returns_BT: mx.array
    old_values_BT: mx.array
    learn_BT: mx.array
    facts: dict[str, float]

    def part(self, index: Sequence[int]) -> "Experience":
        """Give the experience of some rows only, padded no wider than they need."""
        rows = [self.rows[i] for i in index]
        batch, place = pad(rows), mx.array(list(index))
        width = batch.mask_BT.shape[1]
        return Experience(
            rows,
            batch,
            self.old_logprobs_BT[place, :width],
            self.advantages_BT[place, :width],
            self.returns_BT[place, :width],
            self.old_values_BT[place, :width],
            self.learn_BT[place, :width],
            self.facts,
        )


class Loss(Protocol):
    """A part of a method's loss that has its own parameters: a loss is the sum of its parts."""

    def __call__(self, params: Params, part: Experience, weights_BT: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        """Give the loss of some rows, and weighted facts that add up over micro-batches."""


class Method(Protocol):
    """PPO or GRPO."""

    name: str
    resident: Resident
    answers: int
    """Answers a prompt."""
    world: World
    """The processes of the run: each holds the same method, and they share the rows of every pass."""

    def params(self, key: mx.array) -> Params:
        """Give the untrained parameters: the actor under ``actor.``, more as the method needs."""

    def experience(self, rollout: Rollout, params: Params, kl_coef: float) -> Experience:
        """Turn a rollout into advantages; moves on the method's running statistics."""

    def weights(self, experience: Experience) -> mx.array:
        """Token weights w_BT of a minibatch, with loss = Σ w·(token loss)."""

    @property
    def losses(self) -> Mapping[tuple[str, ...], Loss]:
        """Give the parts of the loss by the prefixes of their parameters' names.

        Each has its gradient taken alone, so that what one keeps for its backward pass is gone before the next begins.
        """

    def diagnose(self, rollout: Rollout, params: Params) -> dict[str, mx.array]:
        """Give per-token arrays [B, T] worth keeping at an evaluation point (PPO: values, advantages)."""

    def memory(self) -> dict[str, Any]:
        """Give what must survive a resume, as JSON."""

    def recall(self, memory: dict[str, Any]) -> None:
        """Take `memory` back."""
