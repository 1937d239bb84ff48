"""GRPO and its relatives, group by group.

Sources: DeepSeekMath, arXiv 2402.03300 eq. 3; DAPO, 2503.14476 eq. 8; Dr. GRPO, 2503.20783 section 3; GSPO, 2507.18071
eq. 5–7. The score normaliser is the study's own.
"""

from collections.abc import Sequence

import numpy as np

from conformance.reference.ppo import surrogate

Ragged = Sequence[np.ndarray]


class ScoreNormalizer:
    """Moving averages of mean and standard deviation, from 3 and 1; scores go to 3 + z, kept within [1, 5]."""

    def __init__(self, alpha: float, mean: float = 3.0, std: float = 1.0):
        self.alpha, self.mean, self.std = alpha, mean, std

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Take the batch into the averages, then normalise it by them."""
        self.mean = self.alpha * self.mean + (1 - self.alpha) * np.mean(scores)
        self.std = self.alpha * self.std + (1 - self.alpha) * np.std(scores)
        return np.minimum(5.0, np.maximum(1.0, 3.0 + (scores - self.mean) / self.std))


def advantages(rewards: Sequence[Sequence[float]], scale: str = "none") -> list[np.ndarray]:
    """r − the mean of its own group, over nothing, over the group's, or over the batch's standard deviation."""
    centred = [np.array(group) - np.mean(group) if np.ptp(group) > 0 else np.zeros(len(group)) for group in rewards]
    if scale == "none":
        return centred
    if scale == "group":
        return [group / (np.std(own, ddof=1) + 1e-4) for group, own in zip(centred, rewards, strict=True)]
    return [group / (np.std(np.concatenate(rewards), ddof=1) + 1e-4) for group in centred]


def loss(
    logprobs: Ragged,
    old_logprobs: Ragged,
    advantages: Sequence[float],
    *,
    kind: str,
    clip: tuple[float, float],
    max_length: int,
    learns: Sequence[bool] | None = None,
) -> float:
    """−J of one batch of answers, each with one advantage.

    Args:
        logprobs: of the policy that learns.
        old_logprobs: of the policy that sampled.
        advantages: one an answer.
        kind: ``grpo``: mean over an answer's tokens, then over answers; ``dapo``: mean over all tokens; ``dr_grpo``:
            sum over all tokens, over answers · max_length; ``gspo``: mean over answers of the surrogate of
            (π/π_old)^(1/|answer|).
        clip: ε below and above.
        max_length: the constant of ``dr_grpo``.
        learns: answers that take part; those cut at the limit may not. A constant stays a constant.
    """
    rows = [
        (logp, old, advantage)
        for i, (logp, old, advantage) in enumerate(zip(logprobs, old_logprobs, advantages, strict=True))
        if learns is None or learns[i]
    ]
    if kind == "gspo":
        gains = [surrogate(np.prod(np.exp(p - old)) ** (1 / len(p)), a, *clip) for p, old, a in rows]
        return -float(np.mean(gains))
    tokens = [[surrogate(np.exp(x - y), a, *clip) for x, y in zip(p, old, strict=True)] for p, old, a in rows]
    if kind == "grpo":
        return -float(np.mean([np.mean(answer) for answer in tokens]))
    total = sum(sum(answer) for answer in tokens)
    if kind == "dapo":
        return -total / sum(len(answer) for answer in tokens)
    assert kind == "dr_grpo"
    return -total / (len(logprobs) * max_length)
