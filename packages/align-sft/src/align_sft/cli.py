"""Console script `align-sft`: base, train, eval, merge, export, import."""

from align_contracts import console
from align_contracts.console import Command
from align_sft.config import BaseConfig, EvalConfig, ExportConfig, ImportConfig, MergeConfig, TrainConfig

COMMANDS = (
    Command(
        name="base",
        help="Import a model as a base artifact, or train the small embedded one.",
        config=BaseConfig,
        run="align_sft.base:run",
        sections=("base",),
        examples=(
            "align-sft base --embedded --data artifacts/data --out artifacts/base",
            "align-sft base --model google/gemma-2b-it --bits 4 --out artifacts/base",
        ),
    ),
    Command(
        name="train",
        help="Fine-tune an adapter on the answers of a dataset (QLoRA).",
        config=TrainConfig,
        run="align_sft.train:run",
        sections=("sft",),
        examples=("align-sft train --base artifacts/base --data artifacts/data --out artifacts/sft",),
        data_parallel=True,
    ),
    Command(
        name="eval",
        help="Perplexity of a policy on held-out answers; for genrm also its written scores.",
        config=EvalConfig,
        run="align_sft.evaluate:run",
        sections=(),
        examples=("align-sft eval --policy artifacts/sft --json",),
    ),
    Command(
        name="merge",
        help="Write base and adapters as one model, with the loss of the merge measured.",
        config=MergeConfig,
        run="align_sft.merge:run",
        sections=(),
        examples=("align-sft merge --policy artifacts/sft --bits 8 --out artifacts/sft-merged",),
    ),
    Command(
        name="export",
        help="Write a policy's adapters as one adapter that mlx-lm or PEFT loads.",
        config=ExportConfig,
        run="align_sft.export:run",
        sections=(),
        examples=(
            "align-sft export --policy artifacts/ppo-42 --out exports/ppo-42",
            "align-sft export --policy artifacts/ppo-42 --format peft --out exports/ppo-42-peft",
        ),
    ),
    Command(
        name="import",
        help="Take an adapter that mlx-lm or PEFT has saved as a policy.",
        config=ImportConfig,
        run="align_sft.import_adapter:run",
        sections=(),
        examples=("align-sft import --adapter exports/ppo-42 --base artifacts/base --out artifacts/imported",),
    ),
)


def main() -> int:
    """Run the console script; returns its exit code."""
    return console.main("align-sft", "Base models and supervised fine-tuning.", COMMANDS)
