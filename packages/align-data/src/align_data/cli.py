"""The console script `align-data`."""

from __future__ import annotations

from align_contracts import console
from align_data.config import BuildConfig, ExportConfig

COMMANDS = (
    console.Command(
        name="build",
        help="Build a dataset artifact: clean, split by prompt, write all formats and a data card.",
        config=BuildConfig,
        run="align_data.run:run",
        sections=("data",),
        examples=(
            "align-data build --out runs/data",
            "align-data build --source hf:HuggingFaceH4/ultrafeedback_binarized --out runs/data",
            "align-data build --source my/preferences --validation 40 --gold 0 --out runs/data",
        ),
    ),
    console.Command(
        name="export",
        help="Write a dataset artifact as a directory that `datasets` loads.",
        config=ExportConfig,
        run="align_data.export:run",
        examples=("align-data export --data runs/data --out exports/data",),
    ),
)
"""What the script can do."""


def main() -> int:
    """Run the script.

    Returns:
        The process exit code.
    """
    return console.main("align-data", "Preference data, split by prompt, with a data card.", COMMANDS)
