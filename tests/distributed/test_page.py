"""The page's command is one that its command line takes."""

import shlex
from pathlib import Path

from align_contracts import console
from align_sft.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_command_is_understood() -> None:
    page = (ROOT / "docs" / "distributed.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("uv run mlx.launch")]
    words = shlex.split(line)
    launched = words[words.index("--") + 1 :]
    assert launched[0] == ".venv/bin/align-sft"
    config = console.resolve("align-sft", COMMANDS, tuple(launched[1:]))[1]
    assert str(config.base) == str(config.out) == "…"  # the reader's own paths
