"""GRPO: K answers a prompt, advantages relative to their group, no critic."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from align_mlx.adapters import LoraSpec, Params, fresh
from align_mlx.resident import Resident
from align_mlx.reward import Calibration
from align_mlx.world import ALONE, World
from align_rl.algorithms.grpo import answer_advantages, by_prompt, silent_groups
from align_rl.algorithms.kl import k1
from align_rl.algorithms.normalizer import ScoreNormalizer
from align_rl.algorithms.surrogate import token_weights
from align_rl.config import GRPOConfig
from align_rl.methods.actor import ACTOR, surrogate, weigh
from align_rl.methods.base import Experience, Loss
from align_rl.rollout import Rollout


class GRPO:
    """Group Relative Policy Optimization. Source: DeepSeekMath, arXiv 2402.03300."""

    name = "grpo"

    def __init__(self, config: GRPOConfig, resident: Resident, calibration: Calibration, world: World = ALONE):
        self.config, self.resident, self.calibration, self.world = config, resident, calibration, world
        self.answers = config.K
        self.normalizer = ScoreNormalizer(alpha=config.normalizer_alpha)

    def params(self, key: mx.array) -> Params:
        """Give an untrained actor adapter."""
        config = self.config
        spec = LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)
        return {ACTOR + k: v for k, v in fresh(self.resident.maps, spec, key).params.items()}

    def experience(self, rollout: Rollout, params: Params, kl_coef: float) -> Experience:
        """Normalise the scores, subtract the group's mean, give every token of an answer the same advantage."""
        config, mask_BT = self.config, rollout.batch.mask_BT
        scores = self.calibration.apply(rollout.scores_B, mean=3.0)
        scores = mx.array((scores - config.truncation_penalty * rollout.truncated_B).astype(np.float32))
        if kl_coef:
            scores = scores - kl_coef * (k1(rollout.logprobs_BT, rollout.ref_logprobs_BT) * mask_BT).sum(axis=1)
        facts = {"reward_calibrated": scores.mean().item()}
        before = silent(scores, rollout.prompts)
        if config.score_normalizer == "ema":
            self.normalizer = self.normalizer.update(scores)
            scores = self.normalizer.normalize(scores)
        after = silent(scores, rollout.prompts)
        facts |= {"silent_groups": after, "groups_silenced_by_clip": after - before}
        facts |= {"normalizer_mean": self.normalizer.mean, "normalizer_std": self.normalizer.std}
        advantages_B = answer_advantages(scores, rollout.prompts, config.scale_rewards)
        learn_BT = rollout.learn_BT(config.mask_truncated)
        advantages_BT = advantages_B[:, None] * learn_BT
        zeros_BT = mx.zeros_like(mask_BT)
        return Experience(
            rollout.rows, rollout.batch, rollout.logprobs_BT, advantages_BT, zeros_BT, zeros_BT, learn_BT, facts
        )

    def weights(self, experience: Experience) -> mx.array:
        """Weights of the chosen loss type."""
        return token_weights(experience.learn_BT, self.config.loss_type, self.config.max_response_length)

    @property
    def losses(self) -> Mapping[tuple[str, ...], Loss]:
        """One: the actor's."""
        return {(ACTOR,): self.loss}

    def loss(self, params: Params, part: Experience, weights_BT: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
        """L_CLIP: the clipped surrogate alone; KL is held from outside."""
        sequence = self.config.loss_type == "gspo"
        loss_BT, _, facts = surrogate(self.resident, self.config, params, part, sequence=sequence)
        return (loss_BT * weights_BT).sum(), weigh(facts, weights_BT, part.batch.mask_BT)

    def diagnose(self, rollout: Rollout, params: Params) -> dict[str, mx.array]:
        """Nothing: a single answer has no group."""
        return {}

    def memory(self) -> dict[str, Any]:
        """Give the running mean and std."""
        return {"normalizer": [self.normalizer.mean, self.normalizer.std]}

    def recall(self, memory: dict[str, Any]) -> None:
        """Take the running mean and std back."""
        mean, std = memory["normalizer"]
        self.normalizer = ScoreNormalizer(mean, std, self.config.normalizer_alpha)


def silent(rewards_B: mx.array, prompts_B: np.ndarray) -> int:
    """Count the prompts all of whose answers have one reward."""
    return sum(int(silent_groups(part_PK).item()) for part_PK in by_prompt(rewards_B, prompts_B))
