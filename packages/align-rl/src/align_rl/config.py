"""Settings of a PPO or GRPO run; the defaults are the study's."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from align_contracts.console import runtime
from align_contracts.errors import ConfigError
from align_contracts.selection import Rule
from align_mlx.settings import GuardSettings, PassSettings, ResumeSettings, RolloutSettings
from align_rl.algorithms.controller import Mode
from align_rl.algorithms.grpo import Scale
from align_rl.algorithms.surrogate import Aggregation


def _field(group: str, default: Any, description: str, **rules: Any) -> Any:
    extra = {"group": group, **rules.pop("extra", {})}
    return Field(default=default, description=description, json_schema_extra=extra, **rules)


def _path(description: str, *names: str) -> Any:
    return runtime(..., description, json_schema_extra={"group": "artifacts", "aliases": list(names)})


class RLConfig(PassSettings, RolloutSettings, ResumeSettings, GuardSettings):
    """What PPO and GRPO share: everything the comparison controls."""

    sft: Path = _path("SFT policy artifact: start of the actor, and the reference", "--actor-model")
    rm: Path = _path("reward model artifact", "--rm-model")
    data: Path | None = runtime(
        None,
        "dataset artifact with the training prompts; default: the one that the SFT policy learned from",
        json_schema_extra={"group": "artifacts", "aliases": ["--prompts"]},
    )
    out: Path = _path("where to publish the policy artifact", "--output")
    seed: int = _field("run", 42, "seed of adapter initialisation, prompt order and sampling", ge=0)
    num_iterations: int = _field("run", 800, "iterations of rollout and update", ge=1)
    batch_size: int = _field("run", 16, "prompts an iteration", ge=1)
    minibatches: int = _field("run", 4, "optimizer steps an iteration; minibatches are split by prompt", ge=1)
    ppo_epochs: int = _field("run", 1, "passes over each rollout", ge=1)
    learning_rate: float = _field("run", 5e-6, "base learning rate of the actor", ge=0)
    warmup_iterations: int = _field("run", 0, "iterations over which the learning rate rises linearly", ge=0)
    max_grad_norm: float = _field("run", 0.5, "joint gradient norm above which gradients are scaled down", gt=0)
    control: Literal["none", "null"] = _field("run", "none", "null: learning rate 0, everything else the same")
    max_seq_length: int = _field("sampling", 512, "most tokens of prompt and response", ge=2)
    max_prompt_length: int = _field("sampling", 256, "longer prompts are left out and counted", ge=1)
    max_response_length: int = _field("sampling", 256, "most sampled tokens of a response", ge=1)
    temperature: float = _field("sampling", 1.0, "rollout temperature; log-probs use it too", gt=0)
    truncation_penalty: float = _field("sampling", 0.0, "subtracted from the reward of a response cut at the limit")
    mask_truncated: bool = _field("sampling", False, "give responses cut at the limit no gradient")
    lora_rank: int = _field("adapter", 16, "rank of the policy adapter", ge=1)
    lora_alpha: float = _field("adapter", 32.0, "LoRA alpha; the factor is alpha / rank", gt=0)
    lora_layers: int = _field("adapter", 16, "adapted blocks, counted from the last", ge=1)
    lora_targets: tuple[str, ...] = _field("adapter", (), "names of the adapted linear maps; empty means all")
    clip_range: float = _field("loss", 0.2, "ε of the clipped surrogate", gt=0)
    clip_range_high: float | None = _field("loss", None, "upper ε if different (clip-higher)", gt=0)
    controller: Mode = _field("kl", "lr", "how KL is held: none, lr, stop, pullback or reward_penalty")
    kl_schedule: Literal["phased", "constant"] = _field("kl", "phased", "phased: one target a phase of the run")
    target_kl: tuple[float, ...] = _field("kl", (0.05, 0.02, 0.01), "KL targets, nats per response token")
    kl_estimator: Literal["k3", "exact"] = _field("kl", "k3", "KL that is held: k3 of sampled tokens, or exact")
    kl_coef: float = _field("kl", 0.05, "initial KL coefficient of reward_penalty", ge=0)
    eval_every: int = _field("evaluation", 50, "iterations between evaluation points", ge=1)
    eval_prompts: int = _field("evaluation", 200, "validation prompts of an evaluation point", ge=1)
    selection: Rule = _field("evaluation", "perplexity", "which point under the KL gate is published")
    quiet: bool = runtime(False, "show no progress")
    overwrite: bool = runtime(False, "replace an existing artifact at --out")

    @field_validator("target_kl")
    @classmethod
    def _positive(cls, targets: tuple[float, ...]) -> tuple[float, ...]:
        if not targets or min(targets) <= 0:
            raise ValueError("give one or more targets above 0")
        return targets

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        need = self.max_prompt_length + self.max_response_length
        if need > self.max_seq_length:
            raise ConfigError(
                "prompt and response do not fit the sequence",
                expected=f"max_prompt_length + max_response_length ≤ {self.max_seq_length} (max_seq_length)",
                got=need,
                do="Raise --max-seq-length or lower one of the two",
            )
        return self

    @model_validator(mode="after")
    def _minibatches_are_equal(self) -> Self:
        if self.batch_size % self.minibatches:
            raise ConfigError(
                "an iteration's prompts do not divide into minibatches of one size",
                expected="a batch_size that is a multiple of minibatches",
                got=f"{self.batch_size} and {self.minibatches}",
                do="Change --batch-size or --minibatches",
            )
        return self

    @model_validator(mode="after")
    def _clip_range_is_a_range(self) -> Self:
        if self.clip_range_high is not None and self.clip_range_high < self.clip_range:
            raise ConfigError(
                "the upper ε is below the lower one: clip-higher is meant to leave more room upwards",
                expected=f"clip_range_high ≥ {self.clip_range:g} (clip_range)",
                got=f"{self.clip_range_high:g}",
            )
        if self.clip_range >= 1:
            raise ConfigError(
                "1 − ε is not above 0, so ratios are never clipped from below", expected="clip_range < 1",
                got=f"{self.clip_range:g}",
            )  # fmt: skip
        return self

    @model_validator(mode="after")
    def _penalty_can_grow(self) -> Self:
        if self.controller == "reward_penalty" and self.kl_coef == 0:
            raise ValueError("reward_penalty multiplies kl_coef, so 0 stays 0: give --kl-coef above 0, or another mode")
        return self

    @property
    def clip(self) -> tuple[float, float]:
        """Lower and upper ε."""
        high = self.clip_range if self.clip_range_high is None else self.clip_range_high
        return self.clip_range, high

    @property
    def targets(self) -> tuple[float, ...]:
        """KL targets by phase; one phase if the schedule is constant."""
        return self.target_kl if self.kl_schedule == "phased" else self.target_kl[:1]


class PPOConfig(RLConfig):
    """PPO: an actor and a critic, advantages by GAE."""

    gae_gamma: float = _field("ppo", 0.99, "discount γ", ge=0, le=1)
    gae_lambda: float = _field("ppo", 0.95, "λ of GAE", ge=0, le=1)
    value_coef: float = _field("ppo", 0.5, "weight of the value loss", ge=0)
    entropy_coef: float = _field("ppo", 0.01, "weight of the entropy bonus", ge=0)
    entropy: Literal["true", "sampled"] = _field("ppo", "true", "entropy of the distribution, or the study's −p·log p")
    reward_shaping: Literal["eos-only"] = _field("ppo", "eos-only", "the reward sits on the last token")
    whiten_advantages: bool = _field("ppo", True, "advantages to mean 0, std 1 over the rollout's tokens")
    value_clip: float | None = _field("ppo", None, "clip of the value's change; none by default", gt=0)
    critic_init: Literal["rm", "zero"] = _field("ppo", "rm", "start of the critic: the reward model, or zero")
    critic_learning_rate: float | None = _field(
        "ppo", None, "base learning rate of the critic; the actor's rate if not given", ge=0
    )
    critic_warmup: int = _field("ppo", 0, "first iterations in which only the critic learns", ge=0)


class GRPOConfig(RLConfig):
    """GRPO: no critic, advantages relative to the group of answers to one prompt."""

    K: int = _field("grpo", 6, "answers a prompt", ge=2)
    normalizer_alpha: float = _field("grpo", 0.99, "EMA coefficient of the score normaliser", ge=0, le=1)
    score_normalizer: Literal["ema", "none"] = _field("grpo", "ema", "ema: running mean and std, clipped to [1, 5]")
    loss_type: Aggregation = _field("grpo", "grpo", "how token losses are averaged, or gspo's sequence ratio")
    scale_rewards: Scale = _field("grpo", "none", "divide advantages by a std: none, group or batch")
