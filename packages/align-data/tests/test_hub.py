"""The hub's library reads a local copy of a dataset repository the same way, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from align_contracts.errors import ConfigError, MissingError, PreflightError, VerificationError
from align_data.hub import open_hub

datasets = pytest.importorskip("datasets")

README = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train_prefs
    path: data/train_prefs-*
  - split: train_sft
    path: data/train_sft-*
  - split: test_prefs
    path: data/test_prefs-*
---
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def opened(name: object, train: str = "train_prefs", test: str = "test_prefs", revision: str | None = None):
    return open_hub(str(name), revision, train_split=train, test_split=test, progress=False)


@pytest.fixture
def repository(write_dataset, raw_rows) -> Path:
    other = [{"messages": row["messages"], "prompt": row["prompt"]} for row in raw_rows(3)]
    directory = write_dataset("parquet", train_prefs=raw_rows(5), test_prefs=raw_rows(2, start=5), train_sft=other)
    (directory / "README.md").write_text(README)
    return directory


def test_both_splits_are_read_and_no_other(repository: Path, raw_rows) -> None:
    source = opened(repository)
    assert [(part.origin, part.size) for part in source.parts] == [("train", 5), ("test", 2)]
    rows = [dict(row) for part in source.parts for row in part.read()]
    assert [row["prompt"] for row in rows] == [row["prompt"] for row in raw_rows(7)]
    assert rows[3]["chosen"] == raw_rows(4)[3]["chosen"]
    assert "messages" not in rows[0]
    assert source.name == f"hf:{repository}"


def test_jsonl_without_a_readme_works_too(write_dataset, raw_rows) -> None:
    directory = write_dataset(train=raw_rows(4), test=raw_rows(1, start=4))
    source = opened(directory, "train", "test", "main")
    assert [part.size for part in source.parts] == [4, 1]
    assert source.revision == "main"


def test_a_missing_held_out_split_is_left_out(repository: Path) -> None:
    assert [part.origin for part in opened(repository, test="nothing").parts] == ["train"]


def test_a_missing_training_split_is_an_error_that_lists_the_others(repository: Path) -> None:
    with pytest.raises(ConfigError, match="test_prefs, train_prefs, train_sft"):
        opened(repository, "train")


def test_missing_columns_are_named(repository: Path) -> None:
    with pytest.raises(VerificationError, match="lacks the columns chosen, rejected:"):
        opened(repository, "train_sft")


def test_a_commit_in_the_address_is_the_revision(repository: Path, monkeypatch) -> None:
    commit = "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85"
    original = datasets.load_dataset_builder

    def pinned(*args, **kwargs):
        builder = original(*args, **kwargs)
        builder.base_path = f"hf://datasets/owner/name@{commit}/data"
        builder.info.license = "mit"
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", pinned)
    source = opened(repository)
    assert (source.revision, source.license) == (commit, "mit")


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (ConnectionError("Couldn't reach 'a/b' on the Hub\nmore"), PreflightError, "cannot be reached"),
        (TimeoutError("read timed out"), PreflightError, "cannot be reached"),
        (OSError(28, "No space left on device"), PreflightError, "could not be fetched"),
        (datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist"), MissingError, "no dataset hf:a/b"),
        (datasets.exceptions.DatasetGenerationError("bad file"), VerificationError, "could not be read"),
        (ValueError("Config name is missing."), VerificationError, "Config name is missing"),
    ],
)
def test_failures_of_the_library_become_one_message(monkeypatch, failure, error, words: str) -> None:
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *args, **kwargs: None)
    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    with pytest.raises(error, match=words) as raised:
        opened("a/b")
    assert "\n" not in str(raised.value)


def test_no_network_is_said_plainly() -> None:
    with pytest.raises(PreflightError, match="the hub cannot be reached for hf:nobody/nothing"):
        opened("nobody/nothing")
