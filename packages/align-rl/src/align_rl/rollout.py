"""One iteration's experience: answers, their rewards, and every log-prob that the update needs, computed once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from align_mlx.adapters import Adapter
from align_mlx.batching import Batch, by_length, gather, pad
from align_mlx.chat import Tokens
from align_mlx.logprobs import response_stats
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Answer, Draw, Prompt, sample
from align_mlx.softmax import kl_divergence
from align_rl.config import RLConfig


@dataclass(frozen=True)
class Rollout:
    """Answers in prompt order (B = P·K rows) with what was measured on them, before any update.

    Attributes:
        prompts: positions in the training prompts, one a row.
        answers: the sampled tokens.
        batch: the same, right-padded.
        logprobs_BT, ref_logprobs_BT: of the sampling policy, and of the reference; nats.
        scores_B: raw reward model scores, fp64.
        kl_BT: KL(policy ‖ reference) of each next-token distribution, nats; None unless `kl_estimator` is ``exact``.
    """

    prompts: np.ndarray
    answers: list[Answer]
    batch: Batch
    logprobs_BT: mx.array
    ref_logprobs_BT: mx.array
    scores_B: np.ndarray
    kl_BT: mx.array | None = None

    @property
    def truncated_B(self) -> np.ndarray:
        """1 where an answer was cut at the length limit."""
        return np.array([a.truncated for a in self.answers], np.float64)

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
) -> Rollout:
    """Sample answers, score them, and take the actor's and the reference's log-probs teacher-forced."""
    sampled = sample(
        resident,
        (actor,),
        prompts,
        draw=draw,
        answers=answers,
        max_new_tokens=config.max_response_length,
        temperature=config.temperature,
        max_rows=config.rollout_rows,
    )
    rows = [a.tokens for a in sampled]
    batch = pad(rows)
    return Rollout(
        prompts=np.repeat(np.arange(len(prompts)), answers),
        answers=sampled,
        batch=batch,
        logprobs_BT=logprobs(resident, (actor,), rows, batch, config),
        ref_logprobs_BT=logprobs(resident, (), rows, batch, config),
        scores_B=scorer.score(rows),
        kl_BT=exact_kl(resident, actor, rows, batch, config) if config.kl_estimator == "exact" else None,
    )


def logprobs(
    resident: Resident, adapters: Sequence[Adapter], rows: Sequence[Tokens], batch: Batch, config: RLConfig
) -> mx.array:
    """Teacher-forced log-probs [B, T] of a batch, a token budget at a time."""

    def stats(part: Batch) -> mx.array:
        hidden = resident.hidden(part.tokens_BL, adapters)
        return response_stats(resident, hidden, part, temperature=config.temperature, gradient=False).logprobs_BT

    return by_budget(stats, rows, batch, config.token_budget)


def exact_kl(resident: Resident, actor: Adapter, rows: Sequence[Tokens], batch: Batch, config: RLConfig) -> mx.array:
    """KL(actor ‖ reference) [B, T] of the whole distribution before each response token, a token budget at a time."""

    def divergence(part: Batch) -> mx.array:
        trunks = [resident.hidden(part.tokens_BL, worn) for worn in ((actor,), ())]
        states = [gather(hidden, part.positions_BT).reshape(-1, hidden.shape[-1]) for hidden in trunks]
        kl_N = kl_divergence(resident.head, states[0], resident.head, states[1], temperature=config.temperature)
        return mx.where(part.mask_BT > 0, kl_N.reshape(part.mask_BT.shape), 0.0)

    return by_budget(divergence, rows, batch, config.token_budget)


def by_budget(compute: Callable[[Batch], mx.array], rows: Sequence[Tokens], batch: Batch, budget: int) -> mx.array:
    """Compute [b, t] arrays over groups of similar length and put them together as [B, T], 0 where padded."""
    out = np.zeros(batch.mask_BT.shape, np.float32)
    for group in by_length(rows, budget):
        part = np.array(compute(pad([rows[i] for i in group])))
        width = min(part.shape[1], out.shape[1])
        out[group, :width] = part[:, :width]
    return mx.array(out)
