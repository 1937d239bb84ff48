"""From a config to its method."""

from align_contracts.errors import ConfigError
from align_mlx.resident import Resident
from align_mlx.reward import Scorer
from align_mlx.world import ALONE, World
from align_rl.config import GRPOConfig, PPOConfig, RLConfig
from align_rl.methods.base import Method
from align_rl.methods.grpo import GRPO
from align_rl.methods.ppo import PPO


def make_method(config: RLConfig, resident: Resident, scorer: Scorer, world: World = ALONE) -> Method:
    """Give the method that a config's type names; the processes of `world` share its work."""
    if isinstance(config, PPOConfig):
        return PPO(config, resident, scorer, world)
    if isinstance(config, GRPOConfig):
        return GRPO(config, resident, scorer.calibration, world)
    raise ConfigError("no such method", expected="PPOConfig or GRPOConfig", got=type(config).__name__)
