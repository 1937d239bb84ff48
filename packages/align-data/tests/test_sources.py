from __future__ import annotations

import pytest

from align_contracts.errors import ConfigError, MissingError, VerificationError
from align_data import embedded
from align_data.source import REQUIRED, SCORES, check_columns
from align_data.sources import open_source

SPLITS = {"train_split": "train_prefs", "test_split": "test_prefs"}


def test_columns_may_be_more_but_not_fewer() -> None:
    assert not check_columns([*REQUIRED, "anything"], "here")
    assert check_columns([*REQUIRED, *SCORES, "anything"], "here")
    with pytest.raises(VerificationError) as error:
        check_columns(["prompt", "chosen", "score_chosen"], "rows.jsonl")
    assert "rows.jsonl lacks the columns rejected, score_rejected" in str(error.value)
    assert "got prompt, chosen, score_chosen" in str(error.value)


def test_a_directory_is_opened_by_its_path(write_dataset, raw_rows) -> None:
    directory = write_dataset(train_prefs=raw_rows(2))
    assert open_source(str(directory), **SPLITS).name == "prefs"
    with pytest.raises(MissingError, match="hf:NAME"):
        open_source(f"{directory}x", **SPLITS)


@pytest.mark.parametrize("source", ["hf:", "hf:@main"])
def test_hub_source_needs_a_name(source: str) -> None:
    with pytest.raises(ConfigError, match="hf:NAME"):
        open_source(source, **SPLITS)


@pytest.mark.parametrize(
    ("source", "name", "revision"),
    [("hf:a/b", "a/b", None), ("hf:a/b@v1", "a/b", "v1"), ("hf:a/b@refs/pr/1", "a/b", "refs/pr/1")],
)
def test_hub_name_and_revision_are_parted(monkeypatch, source: str, name: str, revision: str | None) -> None:
    from align_data import hub

    asked = []
    monkeypatch.setattr(hub, "open_hub", lambda *args, **kwargs: asked.append((args, kwargs)))
    open_source(source, **SPLITS, progress=False)
    assert asked == [((name, revision), {**SPLITS, "progress": False})]


def test_embedded_world_is_a_source_of_one_part() -> None:
    source = open_source("embedded", **SPLITS, seed=7, embedded_prompts=6)
    assert (source.name, len(source.parts), source.parts[0].origin, source.parts[0].size) == ("embedded", 1, "train", 6)
    rows = list(source.parts[0].read())
    assert rows == embedded.rows(7, 6)
    check_columns(rows[0], "embedded")
    assert source.corpus is not None
    texts = source.corpus({rows[0]["prompt"]})
    assert all(rows[0]["prompt"] not in text for text, _ in zip(texts, range(50), strict=False))
