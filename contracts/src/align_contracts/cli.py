"""Console script `align-contracts`: validate, inspect, lineage, recipes, schema, env."""

from __future__ import annotations

from align_contracts import console
from align_contracts.commands import (
    EnvConfig,
    InspectConfig,
    LineageConfig,
    RecipesConfig,
    SchemaConfig,
    ValidateConfig,
)

COMMANDS = (
    console.Command(
        "validate",
        "Verify artifacts against their manifests.",
        ValidateConfig,
        "align_contracts.commands:validate",
        examples=(
            "align-contracts validate artifacts/run",
            "align-contracts validate --deep artifacts/run/sft",
            "align-contracts validate --json artifacts/run",
        ),
    ),
    console.Command(
        "inspect",
        "Show what an artifact is, what it was made from and what is in it.",
        InspectConfig,
        "align_contracts.commands:inspect",
        examples=("align-contracts inspect artifacts/run/ppo-42", "align-contracts inspect --json artifacts/run/rm"),
    ),
    console.Command(
        "lineage",
        "Draw where artifacts come from and check that they belong together.",
        LineageConfig,
        "align_contracts.commands:lineage",
        examples=(
            "align-contracts lineage artifacts/run",
            "align-contracts lineage artifacts/run/report",
            "align-contracts lineage --json artifacts/run",
        ),
    ),
    console.Command(
        "recipes",
        "List the recipes that come with align, or write them into a directory.",
        RecipesConfig,
        "align_contracts.commands:recipes",
        examples=("align-contracts recipes", "align-contracts recipes --out recipes"),
    ),
    console.Command(
        "schema",
        "Print, write or compare the JSON Schemas of the manifests.",
        SchemaConfig,
        "align_contracts.commands:schema",
        examples=(
            "align-contracts schema policy",
            "align-contracts schema --out contracts/schemas",
            "align-contracts schema --check contracts/schemas",
            "align-contracts schema --reference docs/artifacts.md",
        ),
    ),
    console.Command(
        "env",
        "Say what is installed and what it runs on, to be pasted into a report of a bug; no paths, no secrets.",
        EnvConfig,
        "align_contracts.commands:env",
        examples=("align-contracts env", "align-contracts env --json"),
    ),
)


def main() -> int:
    """Run the console script and return its exit code."""
    return console.main("align-contracts", "Artifacts of align: verify, inspect, trace.", COMMANDS)
