import pytest
from pydantic import ValidationError

from align_contracts.console import deterministic
from align_rl.config import GRPOConfig, PPOConfig

PATHS = {"sft": "s", "rm": "r", "data": "d", "out": "o"}


def test_the_defaults_are_the_studys():
    # Numbers of the study's design: what is controlled, then each method's own.
    for config in (PPOConfig(**PATHS), GRPOConfig(**PATHS)):
        assert (config.num_iterations, config.batch_size, config.minibatches, config.ppo_epochs) == (800, 16, 4, 1)
        assert (config.learning_rate, config.max_grad_norm, config.seed) == (5e-6, 0.5, 42)
        assert (config.max_seq_length, config.max_prompt_length, config.max_response_length) == (512, 256, 256)
        assert config.clip == (0.2, 0.2)
        assert config.targets == (0.05, 0.02, 0.01)
        assert (config.eval_every, config.eval_prompts, config.selection) == (50, 200, "perplexity")
        assert (config.temperature, config.lora_alpha / config.lora_rank) == (1.0, 2.0)
        assert config.control == "none"
    ppo, grpo = PPOConfig(**PATHS), GRPOConfig(**PATHS)
    assert (ppo.gae_gamma, ppo.gae_lambda, ppo.value_coef, ppo.entropy_coef) == (0.99, 0.95, 0.5, 0.01)
    assert (ppo.critic_init, ppo.entropy, ppo.whiten_advantages) == ("rm", "true", True)
    assert (grpo.K, grpo.normalizer_alpha, grpo.scale_rewards, grpo.loss_type) == (6, 0.99, "none", "grpo")


def test_clip_higher_and_constant_target():
    config = GRPOConfig(**PATHS, clip_range_high=0.28, kl_schedule="constant")
    assert config.clip == (0.2, 0.28)
    assert config.targets == (0.05,)


def test_paths_and_display_do_not_determine_the_result():
    found = deterministic(PPOConfig(**PATHS))
    assert not {"sft", "rm", "data", "out", "quiet", "overwrite"} & set(found)
    assert found["seed"] == 42


@pytest.mark.parametrize(
    "setting",
    [
        {"num_iterations": 0},
        {"batch_size": 0},
        {"learning_rate": -1.0},
        {"temperature": 0.0},
        {"K": 1},
        {"loss_type": "mean"},
        {"seed": -1},
        {"learning_rte": 1e-4},
        {"target_kl": ()},  # no phase
        {"target_kl": (0.05, 0.0)},  # the penalty divides by it
        {"clip_range_high": -0.1},
        {"max_response_length": 257},  # 256 + 257 > 512
        {"batch_size": 10},  # 4 minibatches
        {"clip_range": 0.4, "clip_range_high": 0.1},
        {"clip_range": 1.0},
        {"controller": "reward_penalty", "kl_coef": 0.0},  # a coefficient that is only ever multiplied stays 0
    ],
)
def test_wrong_settings_are_refused(setting):
    with pytest.raises(ValidationError):
        GRPOConfig(**PATHS, **setting)


@pytest.mark.parametrize("setting", [{"value_clip": -0.2}, {"critic_learning_rate": -1e-5}])
def test_wrong_settings_of_a_critic_are_refused(setting):
    with pytest.raises(ValidationError):
        PPOConfig(**PATHS, **setting)
