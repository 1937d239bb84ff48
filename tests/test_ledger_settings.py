"""The study ledger knows the settings that RL has: which are shared, and which belong to a method alone."""

from pathlib import Path

import pytest

from align_contracts.console.fields import deterministic
from align_eval.controlled import FREE, OWN, compare_settings
from align_rl.config import GRPOConfig, PPOConfig, RLConfig

PATHS = {name: Path(name) for name in ("sft", "rm", "data", "out")}
SHARED = sorted(deterministic(RLConfig(**PATHS)))


def test_a_methods_own_settings_are_those_that_the_other_lacks():
    for method, config in (("ppo", PPOConfig), ("grpo", GRPOConfig)):
        assert OWN[method] == set(config.model_fields) - set(RLConfig.model_fields)


@pytest.mark.parametrize("name", [name for name in SHARED if name not in FREE | {"seed"}])
def test_every_shared_setting_is_held_equal(name):
    """Any other value in one of the runs is a mismatch of that name, and of no other."""
    ppo, grpo = deterministic(PPOConfig(**PATHS)), deterministic(GRPOConfig(**PATHS))
    runs = {"ppo-42": ("ppo", ppo), "grpo-42": ("grpo", grpo), "grpo-123": ("grpo", {**grpo, "seed": 123})}
    assert all(entry.ok for entry in compare_settings(runs)[0])
    runs["grpo-123"] = ("grpo", {**grpo, "seed": 123, name: "another"})
    assert [entry.name for entry in compare_settings(runs)[0] if not entry.ok] == [name]
