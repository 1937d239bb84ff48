"""PPO: one answer a prompt, a critic on its own adapter, advantages by GAE."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from align_mlx.adapters import Adapter, LoraSpec, Params, fresh
from align_mlx.batching import Batch
from align_mlx.prefix import states
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.world import ALONE, World
from align_rl.algorithms.gae import eos_rewards, gae
from align_rl.algorithms.kl import k1
from align_rl.algorithms.masked import masked_whiten
from align_rl.algorithms.ppo import explained_variance, sampled_entropy, value_loss
from align_rl.algorithms.surrogate import token_weights
from align_rl.config import PPOConfig
from align_rl.methods.actor import ACTOR, part_of, surrogate, weigh
from align_rl.methods.base import Experience, Loss
from align_rl.rollout import Rollout, by_budget

CRITIC, HEAD = "critic.", "head."


class PPO:
    """Proximal Policy Optimization with a critic. Source: arXiv 1707.06347; details: arXiv 2403.17031."""

    name = "ppo"
    answers = 1

    def __init__(self, config: PPOConfig, resident: Resident, scorer: Scorer, world: World = ALONE):
        self.config, self.resident, self.scorer, self.world = config, resident, scorer, world
        self.calibration = scorer.calibration
        self.critic_scale = scorer.adapter.scale if config.critic_init == "rm" else config.lora_alpha / config.lora_rank

    def params(self, key: mx.array) -> Params:
        """Give an untrained actor, and a critic that starts as the calibrated reward model or as zero."""
        config, scorer = self.config, self.scorer
        spec = LoraSpec(config.lora_rank, config.lora_alpha, config.lora_layers, config.lora_targets)
        actor_key, critic_key = mx.random.split(key)
        actor = fresh(self.resident.maps, spec, actor_key).params
        if config.critic_init == "rm":
            critic = scorer.adapter.params
            mean, std = self.calibration.mean, self.calibration.std
            head = {"weight": scorer.head["weight"] / std, "bias": (scorer.head["bias"] - mean) / std}
        else:
            critic = fresh(self.resident.maps, spec, critic_key).params
            head = {"weight": mx.zeros((1, self.resident.hidden_size)), "bias": mx.zeros(1)}
        parts = ((ACTOR, actor), (CRITIC, critic), (HEAD, head))
        return {prefix + k: v for prefix, arrays in parts for k, v in arrays.items()}

    def values(self, params: Params, batch: Batch) -> mx.array:
        """V(s_t) before each response token t, fp32 [B, T], 0 on padding."""
        critic = Adapter(part_of(params, CRITIC), self.critic_scale)
        states_BTD = states(self.resident, batch, (critic,))[:, :-1]
        head = part_of(params, HEAD)
        values_BT = (states_BTD.astype(mx.float32) @ head["weight"].T)[..., 0] + head["bias"]
        return mx.where(batch.mask_BT > 0, values_BT, 0.0)

    def experience(self, rollout: Rollout, params: Params, kl_coef: float) -> Experience:
        """EOS-only rewards, values, GAE, returns before whitening, whitened advantages."""
        config, batch = self.config, rollout.batch
        (values_BT,) = by_budget(
            lambda part: [self.values(params, part)], rollout.rows, batch, config.token_budget, self.world
        )
        scores = self.calibration.apply(rollout.scores_B) - config.truncation_penalty * rollout.truncated_B
        rewards_BT = eos_rewards(mx.array(scores.astype(np.float32)), batch.mask_BT)
        if kl_coef:
            rewards_BT = rewards_BT - kl_coef * k1(rollout.logprobs_BT, rollout.ref_logprobs_BT) * batch.mask_BT
        advantages_BT, returns_BT = gae(
            rewards_BT, values_BT, batch.mask_BT, gamma=config.gae_gamma, lam=config.gae_lambda
        )
        facts = {
            "reward_calibrated": float(scores.mean()),
            "explained_variance": explained_variance(values_BT, returns_BT, batch.mask_BT).item(),
        }
        learn_BT = rollout.learn_BT(config.mask_truncated)
        advantages_BT = masked_whiten(advantages_BT, learn_BT) if config.whiten_advantages else advantages_BT * learn_BT
        return Experience(
            rollout.rows, batch, rollout.logprobs_BT, advantages_BT, returns_BT, values_BT, learn_BT, facts
        )

    def weights(self, experience: Experience) -> mx.array:
        """Mean over the minibatch's tokens that learn."""
        return token_weights(experience.learn_BT, "dapo", self.config.max_response_length)

    @property
    def losses(self) -> Mapping[tuple[str, ...], Loss]:
        """L_CLIP − entropy_coef · H of the actor, and value_coef · L_value of the critic; no KL term."""
        return {(ACTOR,): self.actor_loss, (CRITIC, HEAD): self.critic_loss}

    def actor_loss(
        self, params: Params, part: Experience, weights_BT: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """L_CLIP − entropy_coef · H. The true entropy is logged, whatever H is."""
        config = self.config
        loss_BT, stats, facts = surrogate(self.resident, config, params, part, entropy=True)
        entropy_BT = stats.entropy_BT
        assert entropy_BT is not None  # asked for
        bonus_BT = sampled_entropy(stats.logprobs_BT) if config.entropy == "sampled" else entropy_BT
        total_BT = loss_BT - config.entropy_coef * bonus_BT
        return (total_BT * weights_BT).sum(), weigh({**facts, "entropy": entropy_BT}, weights_BT, part.batch.mask_BT)

    def critic_loss(
        self, params: Params, part: Experience, weights_BT: mx.array
    ) -> tuple[mx.array, dict[str, mx.array]]:
        """value_coef · L_value."""
        values_BT = self.values(params, part.batch)
        value_BT = value_loss(values_BT, part.returns_BT, part.old_values_BT, value_clip=self.config.value_clip)
        mean = (value_BT * weights_BT).sum()
        return self.config.value_coef * mean, {"value_loss": mean}

    def diagnose(self, rollout: Rollout, params: Params) -> dict[str, mx.array]:
        """Give the critic's values and the whitened advantages."""
        experience = self.experience(rollout, params, kl_coef=0.0)
        return {"values": experience.old_values_BT, "advantages": experience.advantages_BT}

    def memory(self) -> dict[str, Any]:
        """Nothing outlives an iteration besides the parameters."""
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        """Nothing to take back."""
