"""Preference data as TRL and `datasets` have it: chats or texts, prompt said or implied, saved to disk or as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from align_contracts import open_artifact
from align_contracts.errors import ConfigError, VerificationError
from align_data.clean import Dropped, parse_row
from align_data.config import BuildConfig
from align_data.directory import open_directory
from align_data.run import run
from align_data.source import has_scores


def said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


ASK, GOOD, BAD = said("user", "Why?"), said("assistant", "because"), said("assistant", "no")
FORMS: dict[str, dict[str, Any]] = {
    "standard": {"prompt": "Why?", "chosen": "because", "rejected": "no"},
    "conversational": {"prompt": ASK, "chosen": GOOD, "rejected": BAD},
    "conversational, implicit prompt": {"chosen": ASK + GOOD, "rejected": ASK + BAD},
    "both": {"prompt": ASK, "chosen": ASK + GOOD, "rejected": ASK + BAD},
}
"""The forms of a preference dataset in TRL's documentation of dataset formats, and one that says the prompt twice."""


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_preference(form: str) -> None:
    row = parse_row(FORMS[form], scored=False)
    assert (row.prompt, row.chosen, row.rejected) == ("Why?", "because", "no")
    assert (row.score_chosen, row.score_rejected) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": said("system", "Be kind.") + ASK}, "multi_turn"),
        ({"prompt": GOOD}, "multi_turn"),
        ({"prompt": []}, "empty_prompt"),
        ({"prompt": {"role": "user"}}, "malformed"),
        ({"rejected": said("user", "Who?") + BAD}, "prompt_mismatch"),
        ({"chosen": ASK}, "multi_turn"),
    ],
)
def test_other_conversations_are_dropped(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Dropped) as dropped:
        parse_row({**FORMS["conversational"], **changes}, scored=False)
    assert dropped.value.reason == reason


def test_an_implied_prompt_is_the_same_in_both_answers() -> None:
    with pytest.raises(Dropped) as dropped:
        parse_row({"chosen": ASK + GOOD, "rejected": said("user", "Who?") + BAD}, scored=False)
    assert dropped.value.reason == "prompt_mismatch"


def test_checks_come_back_from_their_text() -> None:
    row = {**FORMS["standard"], "checks": '{"kind": "exact", "answer": "4"}'}
    assert parse_row(row, scored=False).checks == {"kind": "exact", "answer": "4"}
    with pytest.raises(Dropped):
        parse_row({**row, "checks": "{"}, scored=False)


def test_scores_are_in_all_files_or_in_none() -> None:
    assert has_scores({"a": ["chosen", "rejected", "score_chosen", "score_rejected"]})
    assert not has_scores({"a": ["chosen", "rejected"], "b": ["prompt", "chosen", "rejected"]})
    with pytest.raises(VerificationError, match="b has no scores"):
        has_scores({"a": ["chosen", "rejected", "score_chosen", "score_rejected"], "b": ["chosen", "rejected"]})
    with pytest.raises(VerificationError, match="lacks the column score_rejected"):
        has_scores({"a": ["chosen", "rejected", "score_chosen"]})


def conversational(raw_rows: list[dict[str, Any]]) -> datasets.Dataset:
    """Rows in TRL's conversational form, without scores."""
    return datasets.Dataset.from_list(
        [
            {"prompt": row["chosen"][:1], "chosen": row["chosen"][1:], "rejected": row["rejected"][1:]}
            for row in raw_rows
        ]
    )


@pytest.fixture
def saved(tmp_path: Path, raw_rows) -> Path:
    path = tmp_path / "prefs"
    splits = {"train": conversational(raw_rows(30)), "test": conversational(raw_rows(9, start=30))}
    datasets.DatasetDict(splits).save_to_disk(str(path))
    return path


def test_a_saved_dataset_is_read(saved: Path, raw_rows) -> None:
    source = open_directory(saved, train_split="train", test_split="test")
    assert [(part.origin, part.size) for part in source.parts] == [("train", 30), ("test", 9)]
    assert (source.name, source.scored) == ("prefs", False)
    assert source.revision is not None
    rows = [parse_row(row, scored=False) for part in source.parts for row in part.read()]
    assert [(row.prompt, row.chosen) for row in rows] == [
        (row["prompt"], row["chosen"][1]["content"]) for row in raw_rows(39)
    ]


def test_without_splits_everything_is_for_training(tmp_path: Path, raw_rows) -> None:
    conversational(raw_rows(5)).save_to_disk(str(tmp_path / "one"))
    source = open_directory(tmp_path / "one", train_split="train_prefs", test_split="test_prefs")
    assert [(part.origin, part.size) for part in source.parts] == [("train", 5)]


def test_other_splits_are_named(saved: Path) -> None:
    with pytest.raises(ConfigError, match="expected one of test, train"):
        open_directory(saved, train_split="train_prefs", test_split="test_prefs")


def test_a_damaged_saved_dataset_is_one_error(saved: Path) -> None:
    table = next((saved / "train").glob("*.arrow"))
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(VerificationError, match="is no readable saved dataset"):
        open_directory(saved, train_split="train", test_split="test")


def test_data_without_scores_have_no_rows_that_write_scores(saved: Path, tmp_path: Path) -> None:
    sizes = {"validation": 4, "calibration": 3, "gold": 5, "test": 6}
    splits = {"train_split": "train", "test_split": "test"}
    run(BuildConfig(out=tmp_path / "data", source=str(saved), quiet=True, **splits, **sizes))
    data = open_artifact(tmp_path / "data", kind="dataset", deep=True)
    assert tuple(data.details.formats) == ("chosen",)
    assert not any(role.startswith("genrm") for role in data.details.counts)
    assert {(row["score_chosen"], row["score_rejected"]) for row in data.read_jsonl("pairs_train")} == {(1.0, 0.0)}
    assert any("no scores" in note for note in data.read_json("card")["notes"])
