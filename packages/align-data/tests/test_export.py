"""A dataset artifact out and in again: `datasets` has the same rows, and so has what is built from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from align_contracts import Artifact, open_artifact
from align_contracts.errors import PreflightError
from align_data import embedded
from align_data.config import BuildConfig, ExportConfig
from align_data.export import run as export
from align_data.run import run as build

SIZES = {"validation": 4, "calibration": 3, "gold": 5, "test": 6}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    out = tmp_path_factory.mktemp("export") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded.world, "CORPUS_LINES", 20)
        build(BuildConfig(out=out, embedded_prompts=60, license="CC-BY-4.0", quiet=True, **SIZES))
    return open_artifact(out)


def left(data: Artifact, out: Path, **settings: Any) -> Path:
    export(ExportConfig(data=data.path, out=out, quiet=True, **settings))
    return out


def loaded(folder: Path, name: str, split: str) -> list[dict[str, Any]]:
    return list(datasets.load_dataset(str(folder), name, split=split, cache_dir=str(folder.parent / "cache")))


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_datasets_loads_every_row_of_every_table(data: Artifact, tmp_path: Path, form: str) -> None:
    folder = left(data, tmp_path / "out", format=form, chats=False)
    seen = 0
    for role, count in data.details.counts.items():
        name, _, split = role.partition("_")
        rows = loaded(folder, name, split or "train")
        wanted = data.read_jsonl(role)
        for row in rows:
            if row.get("checks"):
                row["checks"] = json.loads(row["checks"])
        assert [{k: v for k, v in row.items() if v is not None} for row in rows] == wanted
        seen += count
    record = json.loads((folder / "align-export.json").read_text())
    assert seen == sum(count for splits in record["rows"].values() for count in splits.values())


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_chats_are_those_of_trl(data: Artifact, tmp_path: Path, form: str) -> None:
    folder = left(data, tmp_path / "out", format=form)
    pair, row = data.read_jsonl("pairs_train")[0], loaded(folder, "pairs", "train")[0]
    assert row["prompt"] == [{"role": "user", "content": pair["prompt"]}]
    assert row["chosen"] == [{"role": "assistant", "content": pair["chosen"]}]
    assert row["rejected"] == [{"role": "assistant", "content": pair["rejected"]}]
    assert loaded(folder, "prompts", "test")[0]["prompt"][0]["role"] == "user"
    assert loaded(folder, "sft", "train")[0]["messages"] == data.read_jsonl("sft_train")[0]["messages"]


@pytest.mark.parametrize("chats", [True, False])
def test_exported_pairs_are_a_source_with_the_same_rows(data: Artifact, tmp_path: Path, chats: bool) -> None:
    folder = left(data, tmp_path / "out", chats=chats)
    none = dict.fromkeys(SIZES, 0)
    source = {"source": str(folder / "pairs"), "train_split": "train", "test_split": "nothing"}
    build(BuildConfig(out=tmp_path / "again", quiet=True, **source, **none))
    again = open_artifact(tmp_path / "again")
    was, now = data.read_jsonl("pairs_train"), again.read_jsonl("pairs_train")
    key = lambda row: (row["prompt"], row["chosen"], row["rejected"])  # noqa: E731
    assert sorted(was, key=key) == sorted(now, key=key)
    assert (again.details.source, again.details.license) == ("embedded", "CC-BY-4.0")
    assert again.details.revision.startswith("sha256:")  # of the files: the embedded world has no revision
    assert again.manifest.extensions["imported"]["content_digest"] == data.content_digest
    assert "- Source: **embedded**, by way of data\n" in again.file("card_text").read_text()


def test_the_card_names_the_licence_and_the_files(data: Artifact, tmp_path: Path) -> None:
    folder = left(data, tmp_path / "out")
    card = (folder / "README.md").read_text()
    assert card.startswith('---\nlicense: "cc-by-4.0"\nconfigs:\n- config_name: ')
    assert "# Data card" in card
    assert set(datasets.get_dataset_config_names(str(folder))) == {"sft", "genrm", "pairs", "prompts", "corpus"}


def test_an_export_replaces_nothing_unasked(data: Artifact, tmp_path: Path) -> None:
    left(data, tmp_path / "out")
    with pytest.raises(PreflightError, match="exists"):
        left(data, tmp_path / "out")
    left(data, tmp_path / "out", format="jsonl", overwrite=True)
    assert not list((tmp_path / "out").rglob("*.parquet"))
