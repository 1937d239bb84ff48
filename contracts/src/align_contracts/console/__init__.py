"""Command-line kit of the stages: a frozen pydantic config in, a console script out.

A stage lists its commands and nothing else::

    COMMANDS = [
        Command("ppo", "Train with PPO.", PPOConfig, "align_rl.run:run", sections=("rl", "ppo")),
    ]

    def main() -> int:
        return console.main("align-rl", "PPO and GRPO in one loop.", COMMANDS)

Flags, help, recipes (``--config``), overrides (``--set``) and error messages all follow from the fields of
the config. A setting is looked up as default < recipe < ``--set`` < flag.
"""

from align_contracts.console.app import Command, guarded, main, resolve, version
from align_contracts.console.fields import WRITTEN, aliases, deterministic, left_open, planned, runtime
from align_contracts.console.recipe import SECTIONS, read_recipe
from align_contracts.console.suggest import suggest

__all__ = [
    "SECTIONS",
    "WRITTEN",
    "Command",
    "aliases",
    "deterministic",
    "guarded",
    "left_open",
    "main",
    "planned",
    "read_recipe",
    "resolve",
    "runtime",
    "suggest",
    "version",
]
