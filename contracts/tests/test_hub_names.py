from pathlib import Path

import pytest

from align_contracts.errors import MissingError
from align_contracts.hub_names import means_path, require_directory


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "data").mkdir(parents=True)


@pytest.mark.parametrize(
    "text", ["./x", "../x", "~/x", "/x/y", "a/b/c", "x.jsonl", "a/x.parquet", "runs/nothing", "runs/data", "runs"]
)
def test_what_looks_like_a_path_or_is_there_is_one(text):
    assert means_path(text)


@pytest.mark.parametrize("text", ["google/gemma-2b-it", "mlx-community/Qwen3-0.6B-4bit", "gpt2", "hf:runs/data"])
def test_names_of_the_hub_are_none(text):
    assert not means_path(text)


def test_what_is_no_directory_is_refused_with_what_to_do(tmp_path):
    require_directory(Path("runs/data"), "a directory")
    with pytest.raises(MissingError) as raised:
        require_directory(Path("runs/date"), "a directory")
    assert str(raised.value) == (
        "no directory runs/date: expected a directory. For the hub's, write hf:runs/date. Did you mean runs/data?"
    )
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(MissingError, match=r"rows\.jsonl is a file: .*Give the directory: \."):
        require_directory(Path("rows.jsonl"), "a directory")
