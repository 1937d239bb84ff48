"""PPO with a critic, answer by answer. Sources: arXiv 1707.06347 eq. 7 and 9; details 2403.17031."""

from collections.abc import Sequence

import numpy as np

from conformance.reference import gae

Ragged = Sequence[np.ndarray]


def rewards(score: float, length: int, penalty: np.ndarray | float = 0.0) -> np.ndarray:
    """The answer's score on its last token, less a penalty on each."""
    found = np.zeros(length)
    found[-1] = score
    return found - penalty


def advantages(rewards: Ragged, values: Ragged, gamma: float, lam: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Advantages as they are, and returns = advantages + values."""
    found = [gae.advantages(r, v, gamma, lam) for r, v in zip(rewards, values, strict=True)]
    return found, [a + v for a, v in zip(found, values, strict=True)]


def whiten(answers: Ragged) -> list[np.ndarray]:
    """Mean 0 and standard deviation 1 over all tokens of all answers."""
    tokens = np.concatenate(list(answers))
    return [(a - tokens.mean()) / tokens.std() for a in answers]


def surrogate(ratio: float, advantage: float, low: float, high: float) -> float:
    """What a token gains: the ratio may rise to 1 + high where that pays, and fall to 1 − low where that pays."""
    if advantage >= 0:
        return min(ratio, 1.0 + high) * advantage
    return max(ratio, 1.0 - low) * advantage


def value_loss(value: float, target: float, old: float, clip: float | None) -> float:
    """(V − R)², or the worse of that and of the same with V kept within `clip` of its old value."""
    if clip is None:
        return (value - target) ** 2
    near = min(max(value, old - clip), old + clip)
    return max((value - target) ** 2, (near - target) ** 2)


def loss(
    logprobs: Ragged,
    old_logprobs: Ragged,
    advantages: Ragged,
    values: Ragged,
    returns: Ragged,
    old_values: Ragged,
    entropies: Ragged,
    *,
    clip: tuple[float, float],
    value_clip: float | None,
    value_coef: float,
    entropy_coef: float,
) -> float:
    """The mean over all tokens of −surrogate + c₁ · value loss − c₂ · entropy."""
    total, tokens = 0.0, 0
    for row in zip(logprobs, old_logprobs, advantages, values, returns, old_values, entropies, strict=True):
        for logp, old, advantage, value, target, old_value, entropy in zip(*row, strict=True):
            total -= surrogate(np.exp(logp - old), advantage, *clip)
            total += value_coef * value_loss(value, target, old_value, value_clip)
            total -= entropy_coef * entropy
            tokens += 1
    return total / tokens


def explained_variance(values: Ragged, returns: Ragged) -> float:
    """1 − Var(R − V) / Var(R)."""
    v, r = np.concatenate(list(values)), np.concatenate(list(returns))
    return float(1.0 - np.var(r - v) / np.var(r))
