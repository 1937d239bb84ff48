"""Studies drawn from a known truth: a judge's verdicts on the answers of two methods' seeds to the same prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from align_eval.algorithms.difference_power import Variances

Array = np.ndarray[Any, Any]

CATEGORIES = 3
CHUNK = 1_000
"""Studies drawn at a time; bounds the memory."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_HERMITE, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(96)


@dataclass(frozen=True)
class World:
    """What is true, and the design of the studies in it.

    An answer wins if a latent quality passes a threshold. The quality is the sum of a part that a prompt gives to every
    run (its difficulty, SFT's answer to it), one that it gives to every run of a method, and one that is new in every
    answer. A seed moves the threshold, so that its own win rate is a draw from a Beta distribution with exactly the
    wanted mean and standard deviation. Of the answers that do not win, some tie and some lose.

    Attributes:
        seeds: Of each method.
        prompts: Shared by all runs, a third in each category.
        win_rates: True share of wins among all pairs, of each method; tie_rate + win rate < 1.
        seed_sds: Standard deviation of the seeds' own win rates, of each method.
        shared: Share of the latent variance that a prompt gives to every run.
        own: Share that it gives to every run of one method.
        tie_rate: Share of pairs that tie.
    """

    seeds: int
    prompts: int
    win_rates: tuple[float, float] = (0.45, 0.45)
    seed_sds: tuple[float, float] = (0.0, 0.0)
    shared: float = 0.6
    own: float = 0.05
    tie_rate: float = 0.15

    @property
    def difference(self) -> float:
        """The true difference of win rates."""
        return self.win_rates[0] - self.win_rates[1]

    @property
    def strata_P(self) -> Array:
        """Category of each prompt."""
        return np.arange(self.prompts) * CATEGORIES // self.prompts

    def variances(self) -> Variances:
        """The variance components of an outcome, exactly: by quadrature over prompts and seeds, not by simulation."""
        by_prompt, shared = [], _covariance(self, 0, 1, self.shared)
        residual = []
        for method, (rate, sd) in enumerate(zip(self.win_rates, self.seed_sds, strict=True)):
            by_prompt.append(_covariance(self, method, method, self.shared + self.own))
            residual.append(rate * (1.0 - rate) - sd**2 - by_prompt[-1])
        first, second = (sd**2 for sd in self.seed_sds)
        return Variances((first, second), (residual[0], residual[1]), sum(by_prompt) - 2.0 * shared)


@dataclass(frozen=True)
class Studies:
    """N studies.

    Attributes:
        wins: One array (N, S, P) a method, 1 for a win, else 0.
        scores: The same with ½ for a tie.
        on_prompts: One array (N,) a method: the true win rate on just these prompts, over all seeds.
    """

    wins: tuple[Array, Array]
    scores: tuple[Array, Array]
    on_prompts: tuple[Array, Array]


def draw(world: World, studies: int, key: int) -> Iterator[Studies]:
    """Draw studies, a chunk at a time; equal keys give equal studies."""
    rng = np.random.default_rng(key)
    while studies > 0:
        yield _chunk(world, min(CHUNK, studies), rng)
        studies -= CHUNK


def _chunk(world: World, studies: int, rng: np.random.Generator) -> Studies:
    wins, scores, on_prompts = [], [], []
    shape = (studies, world.seeds, world.prompts)
    everyone = _normal(rng, (studies, 1, world.prompts), world.shared)
    for method in range(2):
        prompt = everyone + _normal(rng, (studies, 1, world.prompts), world.own)
        quality = prompt + _normal(rng, shape, 1.0 - world.shared - world.own)
        decided_wins = _decided_wins(world, method)
        share = (
            decided_wins.rvs(size=(studies, world.seeds, 1), random_state=rng) if decided_wins else _rate(world, method)
        )
        won = quality > special.ndtri(1.0 - share * (1.0 - world.tie_rate)).astype(np.float32)
        not_lost = quality > special.ndtri((1.0 - share) * (1.0 - world.tie_rate)).astype(np.float32)
        wins.append(won.astype(np.float32))
        scores.append((won.astype(np.float32) + not_lost) / 2)
        grid = np.linspace(-6.0, 6.0, 1001)
        chance = _chance(world, method, grid, world.shared + world.own)
        on_prompts.append(np.interp(prompt[:, 0], grid, chance).mean(axis=-1))
    return Studies((wins[0], wins[1]), (scores[0], scores[1]), (on_prompts[0], on_prompts[1]))


def _normal(rng: np.random.Generator, shape: tuple[int, ...], variance: float) -> Array:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(variance))


def _rate(world: World, method: int) -> Array:
    """The share of wins among decided pairs, (1, 1, 1)."""
    return np.full((1, 1, 1), world.win_rates[method] / (1.0 - world.tie_rate))


def _decided_wins(world: World, method: int) -> Any:
    """Distribution over seeds of the share of wins among decided pairs; None if all seeds are equal."""
    mean, sd = (value / (1.0 - world.tie_rate) for value in (world.win_rates[method], world.seed_sds[method]))
    if sd == 0.0:
        return None
    size = mean * (1.0 - mean) / sd**2 - 1.0
    return stats.beta(mean * size, (1.0 - mean) * size)


def _chance(world: World, method: int, prompt: Array, variance: float) -> Array:
    """Chance of a win, over seeds, given the prompt's part of the quality, which has the given variance."""
    decided_wins = _decided_wins(world, method)
    if decided_wins is None:
        shares, weights = _rate(world, method).ravel(), np.ones(1)
    else:
        shares, weights = decided_wins.ppf((_NODES + 1.0) / 2.0), _WEIGHTS / 2.0
    threshold = special.ndtri(1.0 - shares * (1.0 - world.tie_rate))
    return np.asarray(special.ndtr((prompt[:, None] - threshold) / np.sqrt(1.0 - variance)) @ weights)


def _covariance(world: World, one: int, other: int, variance: float) -> float:
    """Covariance of the outcomes of two runs on a prompt, whose common part of the quality has the given variance."""
    prompt = _HERMITE * np.sqrt(variance)
    chances = [_chance(world, method, prompt, variance) for method in (one, other)]
    weights = _HERMITE_WEIGHTS / np.sqrt(2.0 * np.pi)
    return float((weights * chances[0] * chances[1]).sum() - world.win_rates[one] * world.win_rates[other])
