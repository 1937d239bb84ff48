"""One iteration's experience: answers, their rewards, and every log-prob that the update needs, computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from align_contracts import signals
from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, by_length, own_rows, pad
from align_mlx.chat import Tokens
from align_mlx.logprobs import response_kl, response_stats
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Answer, Draw, Prompt, sample
from align_mlx.world import ALONE, World
from align_rl.algorithms.kl import k3
from align_rl.config import RLConfig


@dataclass(frozen=True)
class Rollout:
    """Answers in prompt order (B = P·K rows) with what was measured on them, before any update.

    Attributes:
        prompts: positions among the iteration's prompts, one a row, ascending.
        answers: the sampled tokens.
        batch: the same, right-padded.
        logprobs_BT, ref_logprobs_BT: of the sampling policy, and of the reference; nats.
        kl_BT: the estimate of KL(actor ‖ reference) at each token that the controller reads; nats.
        scores_B: raw reward model scores, fp64.
    """

    prompts: np.ndarray
    answers: list[Answer]
    batch: Batch
    logprobs_BT: mx.array
    ref_logprobs_BT: mx.array
    kl_BT: mx.array
    scores_B: np.ndarray

    @property
    def rows(self) -> list[Tokens]:
        """The answers' tokens with their prompts'."""
        return [answer.tokens for answer in self.answers]

    @property
    def truncated_B(self) -> np.ndarray:
        """1 where an answer was cut at the length limit."""
        return np.array([a.truncated for a in self.answers], np.float64)

    def part(self, index: Sequence[int]) -> "Rollout":
        """Give some of the answers only, in ascending order; the prompts keep their positions."""
        answers = [self.answers[i] for i in index]
        batch, place = pad([answer.tokens for answer in answers]), mx.array(list(index))
        width = batch.mask_BT.shape[1]
        return Rollout(
            self.prompts[list(index)],
            answers,
            batch,
            self.logprobs_BT[place, :width],
            self.ref_logprobs_BT[place, :width],
            self.kl_BT[place, :width],
            self.scores_B[list(index)],
        )

    def learn_BT(self, mask_truncated: bool) -> mx.array:
        """Give the mask of the tokens that learn: all real ones, or those of answers that ended by themselves."""
        kept_B1 = mx.array((1.0 - self.truncated_B).astype(np.float32))[:, None]
        return self.batch.mask_BT * kept_B1 if mask_truncated else self.batch.mask_BT


def collect(
    resident: Resident,
    actor: Adapter,
    scorer: Scorer,
    prompts: Sequence[Prompt],
    config: RLConfig,
    *,
    draw: Draw,
    answers: int,
    world: World = ALONE,
) -> Rollout:
    """Sample answers, score them, and take the actor's and the reference's log-probs teacher-forced.

    The processes of `world` share the work, and all get the whole rollout.
    """
    sampled = sample(
        resident,
        (actor,),
        prompts,
        draw=draw,
        answers=answers,
        max_new_tokens=config.max_response_length,
        temperature=config.temperature,
        max_rows=config.rollout_rows,
        token_budget=config.token_budget,
        world=world,
    )
    rows = [a.tokens for a in sampled]
    batch = pad(rows)
    logprobs_BT, ref_logprobs_BT, kl_BT = by_budget(
        lambda part: compare(resident, actor, part, config), rows, batch, config.token_budget, world
    )
    return Rollout(
        prompts=np.repeat(np.arange(len(prompts)), answers),
        answers=sampled,
        batch=batch,
        logprobs_BT=logprobs_BT,
        ref_logprobs_BT=ref_logprobs_BT,
        kl_BT=kl_BT,
        scores_B=scorer.score(rows, world),
    )


def compare(resident: Resident, actor: Adapter, batch: Batch, config: RLConfig) -> tuple[mx.array, mx.array, mx.array]:
    """Give the actor's log-probs, the reference's, and the KL between the two as `kl_estimator` says, each [B, T]."""
    actor_BSD, reference_BSD = (states(resident, batch, worn) for worn in ((actor,), ()))
    logprobs_BT, ref_logprobs_BT = (
        response_stats(resident, states_BSD, batch, temperature=config.temperature, gradient=False).logprobs_BT
        for states_BSD in (actor_BSD, reference_BSD)
    )
    if config.kl_estimator == "exact":
        kl_BT = response_kl(resident, actor_BSD, reference_BSD, batch, temperature=config.temperature)
    else:
        kl_BT = k3(logprobs_BT, ref_logprobs_BT)
    return logprobs_BT, ref_logprobs_BT, kl_BT


def by_budget(
    compute: Callable[[Batch], Sequence[mx.array]],
    rows: Sequence[Tokens],
    batch: Batch,
    budget: int,
    world: World = ALONE,
) -> list[mx.array]:
    """Compute arrays [b, t] over groups of similar length and put each together as [B, T], 0 where padded.

    Args:
        compute: gives the arrays of a part of the rows; their number is the same for every part.
        rows: the sequences.
        batch: all of them padded, for the shape.
        budget: most padded tokens of a part.
        world: the processes that share the rows; all get all arrays.
    """
    mine, shape = own_rows(rows, world), batch.mask_BT.shape
    own, found = [rows[i] for i in mine], list[np.ndarray]()
    for group in by_length(own, budget):
        signals.check()
        parts = compute(pad([own[i] for i in group]))
        mx.eval(parts)
        found = found or [np.zeros((len(own), shape[1]), np.float32) for _ in parts]
        for out, part in zip(found, parts, strict=True):
            out[group, : part.shape[1]] = np.array(part)
    whole: list[np.ndarray] = []
    for places, *theirs in world.gather_arrays("token arrays", [np.array(mine, np.int64), *found]):
        whole = whole or [np.zeros(shape, np.float32) for _ in theirs]
        for out, arrays in zip(whole, theirs, strict=False):
            out[places] = arrays
    return [mx.array(out) for out in whole]
