"""What commands that make something can do: `--dry-run` and `--json`, of a script that publishes a small artifact."""

import json
import shutil
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from align_contracts import console
from align_contracts.launcher import SIZES


class Build(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path = console.runtime(..., "The result.")
    data: Path | None = console.runtime(None, "What it is made from.")
    cache: Path | None = console.runtime(None, "Kept replies.", json_schema_extra=console.WRITTEN)
    overwrite: bool = console.runtime(False, "Replace it.")


def build(config: Build) -> None:
    print("a summary")
    config.out.mkdir()


COMMANDS = [
    console.Command("build", "Builds.", Build, "test_console_making:build"),
    console.Command("train", "Trains.", Build, "test_console_making:build", data_parallel=True),
]


@pytest.fixture
def call(capsys, monkeypatch):
    for name in SIZES:
        monkeypatch.delenv(name, raising=False)

    def run(*words: object, name: str = "build") -> tuple[int, str, str]:
        code = console.main("align-x", "", COMMANDS, [name, *map(str, words)])
        return (code, *capsys.readouterr())

    return run


def test_json_is_all_that_standard_output_holds(call, tmp_path):
    out = tmp_path / "new"
    code, said, aside = call("--out", out, "--json")
    assert (code, json.loads(said), aside) == (0, {"path": str(out)}, "a summary\n")


def test_of_several_processes_the_first_tells(call, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_RANK", "1")
    assert call("--out", tmp_path / "new", "--json", name="train") == (0, "", "a summary\n")


def test_a_command_that_is_not_data_parallel_refuses_to_be_one_of_several(call, tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setenv("PMI_SIZE", "2")
    assert call("--out", tmp_path / "new") == (
        2,
        "",
        "error: align-x build is not data-parallel: each process would do the whole work: expected one process, got "
        "PMI_RANK 0, one of several. To run it alone, start it without a launcher, or unset PMI_RANK (env -u PMI_RANK "
        "…)\n",
    )
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("PMI_SIZE", "1")
    assert call("--out", tmp_path / "new")[0] == 0


def test_an_artifact_is_told_with_its_digests(call, finished_run, monkeypatch):
    monkeypatch.setattr("test_console_making.build", lambda config: 0)
    told = json.loads(call("--out", finished_run / "data", "--json")[1])
    manifest = json.loads((finished_run / "data" / "manifest.json").read_text())
    assert told["content_digest"] == manifest["content_digest"]
    assert (told["kind"], told["metrics"]) == ("dataset", manifest["metrics"])
    assert told["bytes"] == sum(file["size"] for file in manifest["files"])


def test_a_dry_run_makes_nothing_and_names_what_it_would(call, tmp_path):
    out, data = tmp_path / "new", tmp_path
    assert call("--out", out, "--data", data, "--dry-run") == (
        0,
        f"{out} can be made from {data}; nothing was written\n",
        "",
    )
    assert json.loads(call("--out", out, "--dry-run", "--json")[1]) == {
        "dry_run": True,
        "said": [f"{out} can be made; nothing was written"],
    }
    assert not out.exists()


def test_a_dry_run_finds_what_would_go_wrong(call, tmp_path, finished_run):
    (tmp_path / "date").mkdir()
    code, _, error = call("--out", tmp_path / "new", "--data", tmp_path / "data", "--dry-run")
    assert (code, error) == (2, f"error: --data: there is no {tmp_path}/data. Did you mean {tmp_path}/date?\n")
    taken = shutil.copytree(finished_run / "data", tmp_path / "taken")
    assert call("--out", taken, "--dry-run")[0] == 6
    assert call("--out", taken, "--dry-run", "--overwrite")[0] == 0
    assert call("--out", tmp_path / "new", "--cache", tmp_path / "none", "--dry-run")[0] == 0
    (taken / "manifest.json").write_text("{}")
    assert call("--out", tmp_path / "new", "--data", taken, "--dry-run")[0] == 3
