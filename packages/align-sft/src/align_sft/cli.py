"""Console script `align-sft`: base, train, eval, merge."""

from align_contracts import console
from align_contracts.console import Command
from align_sft.config import BaseConfig, EvalConfig, MergeConfig, TrainConfig

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
)


def main() -> int:
    """Run the console script; returns its exit code."""
    return console.main("align-sft", "Base models and supervised fine-tuning.", COMMANDS)
