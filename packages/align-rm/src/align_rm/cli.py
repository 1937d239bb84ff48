"""Console script `align-rm`: train, eval."""

from align_contracts import console
from align_contracts.console import Command
from align_rm.config import EvalConfig, TrainConfig

COMMANDS = (
    Command(
        name="train",
        help="Train a reward model on preference pairs (Bradley-Terry).",
        config=TrainConfig,
        run="align_rm.train:run",
        sections=("rm",),
        examples=(
            "align-rm train --sft artifacts/sft --data artifacts/data --out artifacts/rm",
            "align-rm train --sft artifacts/sft --data artifacts/data --split gold --out artifacts/rm-gold",
        ),
        data_parallel=True,
    ),
    Command(
        name="eval",
        help="Accuracy and calibration of a reward model on held-out pairs.",
        config=EvalConfig,
        run="align_rm.eval:run",
        sections=(),
        examples=("align-rm eval --rm artifacts/rm --data artifacts/data --split test --json",),
    ),
)


def main() -> int:
    """Run the console script; returns its exit code."""
    return console.main("align-rm", "Bradley-Terry reward models.", COMMANDS)
