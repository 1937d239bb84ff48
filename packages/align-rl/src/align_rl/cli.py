"""`align-rl`: PPO and GRPO."""

from align_contracts.console import Command
from align_contracts.console import main as console_main
from align_rl.config import GRPOConfig, PPOConfig
from align_rl.dashboard.command import WatchConfig

_INPUTS = "--sft artifacts/embedded/sft --rm artifacts/embedded/rm --data artifacts/embedded/data"
COMMANDS = (
    Command(
        name="ppo",
        help="Train a policy with PPO: actor, critic, advantages by GAE.",
        config=PPOConfig,
        run="align_rl.run:run",
        sections=("rl", "ppo"),
        examples=(f"align-rl ppo {_INPUTS} --config recipes/embedded.toml --seed 42 --out artifacts/embedded/ppo-42",),
        data_parallel=True,
    ),
    Command(
        name="grpo",
        help="Train a policy with GRPO: K answers a prompt, advantages relative to their group.",
        config=GRPOConfig,
        run="align_rl.run:run",
        sections=("rl", "grpo"),
        examples=(
            f"align-rl grpo {_INPUTS} --config recipes/embedded.toml --seed 42 --out artifacts/embedded/grpo-42",
        ),
        data_parallel=True,
    ),
    Command(
        name="watch",
        help="Show runs live: reward, KL against its target, length, memory, throughput; reads their logs and no more.",
        config=WatchConfig,
        run="align_rl.dashboard.command:run",
        examples=(
            "align-rl watch artifacts/embedded",
            "align-rl watch artifacts/embedded/ppo-42 artifacts/embedded/grpo-42 --html curves.html",
            "align-rl watch artifacts/embedded --once",
            "align-rl watch artifacts/embedded/ppo-42 --json",
        ),
    ),
)


def main() -> int:
    """Run the `align-rl` command line; gives the exit code."""
    return console_main("align-rl", "PPO and GRPO in one visible loop.", COMMANDS)
