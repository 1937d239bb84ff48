"""After training: the temperature of the probabilities, and the scale of the reward on sampled SFT answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from align_contracts import Artifact
from align_contracts.errors import ConfigError, NonFiniteError
from align_mlx.adapters import Adapter
from align_mlx.chat import control_tokens, encode_prompt, has_control_tokens
from align_mlx.finite import listed
from align_mlx.loading import load_policy, policy_adapters
from align_mlx.progress import Meter
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.rollout import Draw, Prompt, prompt_number, require_exact_decoding, sample
from align_mlx.world import ALONE, World
from align_rm.algorithms.bradley_terry import pairwise_accuracy
from align_rm.algorithms.calibration import expected_calibration_error, fit_temperature, preference_nll
from align_rm.config import TrainConfig
from align_rm.pairs import Pair, score_pairs

WELL_CALIBRATED = 0.1
"""Calibration error below which probabilities stay as they are: the study's rule."""


@dataclass(frozen=True)
class Found:
    """Accuracy and calibration of a scorer.

    Attributes:
        accuracy: pairwise accuracy on validation pairs.
        temperature: T fitted on calibration pairs, or 1 where they need none.
        ece_calibration: calibration error on calibration pairs at T = 1, which decides that.
        ece_before: calibration error on validation pairs at T = 1.
        ece_after: the same at T.
        nll_after: mean −log σ(margin / T) on calibration pairs, nats.
        chosen: mean, std and n of raw scores of the calibration pairs' chosen answers.
    """

    accuracy: float
    temperature: float
    ece_calibration: float
    ece_before: float
    ece_after: float
    nll_after: float
    chosen: dict[str, float]

    @property
    def scaling(self) -> str:
        """Say which temperature is used, and why, in a few words."""
        error = f"ECE {self.ece_calibration:.3f} on calibration pairs"
        if self.ece_calibration >= WELL_CALIBRATED:
            return f"T {self.temperature:.2f}: {error}"
        return f"not scaled: {error} is below {WELL_CALIBRATED}"


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation of raw scores on n sampled SFT answers."""

    mean: float
    std: float
    n: int


def calibrate(scorer: Scorer, calibration: Sequence[Pair], validation: Sequence[Pair], world: World = ALONE) -> Found:
    """Fit the temperature on calibration pairs, if they need one, and measure the error on validation pairs.

    Where the calibration error is below `WELL_CALIBRATED` already, T = 1: fitted to a few hundred pairs, a temperature
    that is not needed moves held-out probabilities by as much as it corrects. The processes of `world` share the pairs.
    """
    chosen, rejected = score_pairs(scorer, calibration, world)
    ece_calibration = expected_calibration_error(chosen - rejected)
    temperature = fit_temperature(chosen - rejected) if ece_calibration >= WELL_CALIBRATED else 1.0
    held_chosen, held_rejected = score_pairs(scorer, validation, world)
    margins = held_chosen - held_rejected
    return Found(
        accuracy=pairwise_accuracy(margins),
        temperature=temperature,
        ece_calibration=ece_calibration,
        ece_before=expected_calibration_error(margins),
        ece_after=expected_calibration_error(margins, temperature),
        nll_after=preference_nll(chosen - rejected, temperature),
        chosen={"mean": float(chosen.mean()), "std": float(chosen.std()), "n": len(chosen)},
    )


def speaker(config: TrainConfig, sft: Artifact, backbone: Resident) -> tuple[Resident, Sequence[Adapter]]:
    """Give the SFT policy as a base and adapters to wear on it; the scorer's own backbone serves where it can."""
    if config.backbone == "policy":
        return backbone, ()
    if sft.details.form == "merged":
        return load_policy(sft, backbone.compute), ()
    return backbone, policy_adapters(sft)


def reward_scale(
    config: TrainConfig,
    sft: Artifact,
    scorer: Scorer,
    prompts: Sequence[Mapping[str, Any]],
    world: World = ALONE,
) -> RewardScale:
    """Sample one SFT answer to each calibration prompt (temperature 1) and measure its raw score.

    Args:
        config: backbone, seed, number of prompts and longest answer. Prompts that leave no room for an answer within
            ``max_seq_length``, or hold a control token, are passed over.
        sft: the policy that answers.
        scorer: the trained scorer.
        prompts: rows with ``prompt_id`` and ``prompt``.
        world: the processes that share them.

    Raises:
        ConfigError: fewer than two prompts fit, so that there is no standard deviation; or the policy cannot answer
            in batches.
        NonFiniteError: a score is not finite; the message names the prompts.
    """
    resident, adapters = speaker(config, sft, scorer.resident)
    control = control_tokens(resident.tokenizer)
    plain = (row for row in prompts if not has_control_tokens(control, row["prompt"]))
    every = (Prompt(encode_prompt(resident.tokenizer, r["prompt"]), prompt_number(r["prompt_id"])) for r in plain)
    fitting = (prompt for prompt in every if len(prompt.ids) < config.max_seq_length)
    asked = list(islice(fitting, config.calibration_prompts))
    if len(asked) < 2:
        raise ConfigError(
            "too few calibration prompts fit",
            expected=f"two or more of fewer than {config.max_seq_length} tokens",
            got=str(len(asked)),
        )
    require_exact_decoding(resident, max(len(prompt.ids) for prompt in asked) + config.max_new_tokens)
    with Meter("scale", len(asked), unit="prompt", quiet=config.quiet) as meter:
        answers = sample(
            resident,
            adapters,
            asked,
            draw=Draw(config.seed),
            max_new_tokens=config.max_new_tokens,
            max_rows=config.rollout_rows,
            token_budget=config.token_budget,
            tick=lambda done: meter.advance(done - meter.done),
            world=world,
        )
    scores = scorer.score([answer.tokens for answer in answers], world)
    if not np.isfinite(scores).all():
        spoilt = np.flatnonzero(~np.isfinite(scores))
        numbers = {prompt_number(row["prompt_id"]): row["prompt_id"] for row in prompts}
        names = listed(numbers[asked[i].number] for i in spoilt.tolist())
        raise NonFiniteError("reward of an SFT answer", got=f"{len(spoilt)} of {len(scores)} prompts: {names}")
    return RewardScale(float(np.mean(scores)), max(float(np.std(scores)), 1e-6), len(scores))
