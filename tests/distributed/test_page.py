"""What the page shows is what there is: a command that its command line takes, and the table of the session."""

import re
import shlex
from pathlib import Path

from align_contracts import console
from align_eval.cli import COMMANDS as EVAL
from align_rl.cli import COMMANDS as RL
from align_rm.cli import COMMANDS as RM
from align_sft.cli import COMMANDS
from distributed.__main__ import HEAD

ROOT = Path(__file__).resolve().parents[2]


def test_the_documented_command_is_understood() -> None:
    page = (ROOT / "docs" / "distributed.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("uv run mlx.launch")]
    words = shlex.split(line)
    launched = words[words.index("--") + 1 :]
    assert launched[0] == ".venv/bin/align-sft"
    config = console.resolve("align-sft", COMMANDS, tuple(launched[1:]))[1]
    assert str(config.base) == str(config.out) == "…"  # the reader's own paths


def test_the_page_names_the_commands_that_are_data_parallel() -> None:
    shared = {
        f"{script} {one.name}"
        for script, commands in (("align-sft", COMMANDS), ("align-rm", RM), ("align-rl", RL), ("align-eval", EVAL))
        for one in commands
        if one.data_parallel
    }
    trainings = (ROOT / "docs" / "distributed.md").read_text().split("run data-parallel")[0]
    assert shared == set(re.findall(r"`(align-[a-z]+ [a-z]+)`", trainings))


def test_the_page_shows_the_session_s_table() -> None:
    assert HEAD in (ROOT / "docs" / "distributed.md").read_text().splitlines()
