"""Every command of docs/interop.md does what it says, in a store that the stages have made."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from align_contracts import open_artifact

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "tests" / "tiny.toml"
PAGE = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
COMMANDS = [line.removeprefix("$ ") for line in PAGE.splitlines() if line.startswith("$ ")]


def run(command: str, folder: Path) -> None:
    name, *arguments = shlex.split(command)
    program = [str(Path(sys.executable).parent / name), *arguments]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interop")
    for command in (
        "align-data build --no-progress --out runs/data",
        "align-sft base --data runs/data --out runs/base",
        "align-sft train --base runs/base --data runs/data --out runs/sft",
    ):
        run(f"{command} --config {RECIPE}", path)
    for command in COMMANDS:
        run(command, path)
    return path


def test_every_command_ran_and_left_what_it_names(folder: Path) -> None:
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        words = shlex.split(command)
        assert (folder / words[words.index("--out") + 1]).is_dir(), command


def test_what_came_back_is_what_left(folder: Path) -> None:
    policy, sft = (open_artifact(folder / "runs" / name, "policy") for name in ("imported", "sft"))
    assert policy.details.adapters[0].rank == sft.details.adapters[0].rank
    again, data = (open_artifact(folder / "runs" / name, "dataset") for name in ("again", "data"))
    rows = {(row["prompt"], row["chosen"], row["rejected"]) for row in data.read_jsonl("pairs_train")}
    read = again.read_json("card")["rows"]["read"]
    assert read == len(rows)
    assert list((folder / "runs" / "tracking" / "tensorboard").rglob("events.out.tfevents.*"))
