"""After training: the temperature of the probabilities, and the scale of the reward on sampled SFT answers."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align_mlx.chat import encode_prompt
from align_mlx.progress import Meter
from align_mlx.reward import Scorer
from align_mlx.rollout import Draw, Prompt, sample
from align_rm.algorithms.bradley_terry import pairwise_accuracy
from align_rm.algorithms.calibration import expected_calibration_error, fit_temperature, preference_nll
from align_rm.config import TrainConfig
from align_rm.pairs import Pair, score_pairs


@dataclass(frozen=True)
class Found:
    """Accuracy and calibration of a scorer.

    Attributes:
        accuracy: pairwise accuracy on validation pairs.
        temperature: T fitted on calibration pairs.
        ece_before: calibration error on validation pairs at T = 1.
        ece_after: the same at T.
        nll_after: mean −log σ(margin / T) on calibration pairs, nats.
        chosen: mean, std and n of raw scores of the calibration pairs' chosen answers.
    """

    accuracy: float
    temperature: float
    ece_before: float
    ece_after: float
    nll_after: float
    chosen: dict[str, float]


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation of raw scores on n sampled SFT answers."""

    mean: float
    std: float
    n: int


def calibrate(scorer: Scorer, calibration: Sequence[Pair], validation: Sequence[Pair]) -> Found:
    """Fit the temperature on calibration pairs and measure the calibration error on validation pairs."""
    chosen, rejected = score_pairs(scorer, calibration)
    temperature = fit_temperature(chosen - rejected)
    held_chosen, held_rejected = score_pairs(scorer, validation)
    margins = held_chosen - held_rejected
    return Found(
        accuracy=pairwise_accuracy(margins),
        temperature=temperature,
        ece_before=expected_calibration_error(margins),
        ece_after=expected_calibration_error(margins, temperature),
        nll_after=preference_nll(chosen - rejected, temperature),
        chosen={"mean": float(chosen.mean()), "std": float(chosen.std()), "n": len(chosen)},
    )


def reward_scale(config: TrainConfig, scorer: Scorer, prompts: Sequence[Mapping[str, Any]]) -> RewardScale:
    """Sample one backbone answer to each calibration prompt (temperature 1) and measure its raw score.

    Args:
        config: seed, number of prompts and longest answer.
        scorer: the trained scorer; its resident without the scorer's adapter is what answers.
        prompts: rows with ``prompt_id`` and ``prompt``.
    """
    resident = scorer.resident
    rows = prompts[: config.calibration_prompts]
    asked = [Prompt(encode_prompt(resident.tokenizer, r["prompt"]), prompt_number(r["prompt_id"])) for r in rows]
    with Meter("scale", len(asked), unit="prompt", quiet=config.quiet) as meter:
        answers = sample(
            resident,
            (),
            asked,
            draw=Draw(config.seed),
            max_new_tokens=config.max_new_tokens,
            tick=lambda done: meter.advance(done - meter.done),
        )
    scores = scorer.score([answer.tokens for answer in answers])
    return RewardScale(float(np.mean(scores)), max(float(np.std(scores)), 1e-6), len(scores))


def prompt_number(prompt_id: str) -> int:
    """Give a stable number of a prompt, on which its random draws depend: the first 63 bits of sha256."""
    return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8], "big") >> 1
