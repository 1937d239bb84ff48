from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from align_contracts.errors import MissingError, VerificationError
from align_data.directory import find_files, open_directory


def rows_of(source, part: int = 0) -> list[dict]:
    return [dict(row) for row in source.parts[part].read()]


def opened(directory: Path, train: str = "train_prefs", test: str = "test_prefs"):
    return open_directory(directory, train_split=train, test_split=test)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "jsonl.gz"])
def test_every_form_gives_the_same_rows(write_dataset, raw_rows, form: str) -> None:
    directory = write_dataset(form, train_prefs=raw_rows(5), test_prefs=raw_rows(2, start=5))
    source = opened(directory)
    wanted = [{name: value for name, value in row.items() if name != "messages"} for row in raw_rows(7)]
    assert [sorted(row.items()) for row in rows_of(source)] == [sorted(row.items()) for row in wanted[:5]]
    assert [sorted(row.items()) for row in rows_of(source, 1)] == [sorted(row.items()) for row in wanted[5:]]
    assert [part.origin for part in source.parts] == ["train", "test"]
    assert [part.size for part in source.parts] == ([5, 2] if form == "parquet" else [None, None])
    assert (source.name, source.license, source.corpus) == ("prefs", None, None)


def test_shards_are_read_in_order_and_other_splits_left_alone(tmp_path, raw_rows) -> None:
    names = {
        "train_prefs-00001-of-00002.jsonl": raw_rows(1, start=1),
        "train_prefs-00000-of-00002-0123abcd.jsonl": raw_rows(1),
        "train_prefs_old.jsonl": raw_rows(1, start=7),
        "train_sft-00000-of-00001.jsonl": raw_rows(1, start=8),
        "train_prefs.txt": raw_rows(1, start=9),
    }
    for name, rows in names.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find_files(tmp_path, "train_prefs")
    assert [path.name[:17] for path in found] == ["train_prefs-00000", "train_prefs-00001"]
    source = opened(tmp_path)
    assert [row["prompt"] for row in rows_of(source)] == [row["prompt"] for row in raw_rows(2)]
    assert len(source.parts) == 1


def test_other_split_names(write_dataset, raw_rows) -> None:
    directory = write_dataset(train=raw_rows(3))
    assert len(rows_of(opened(directory, "train", "test"))) == 3
    assert len(opened(directory, "train", "train").parts) == 1


def test_revision_follows_the_bytes_and_not_the_place(write_dataset, raw_rows) -> None:
    first = opened(write_dataset(name="one", train_prefs=raw_rows(3))).revision
    assert first is not None
    assert first.startswith("sha256:")
    assert opened(write_dataset(name="two", train_prefs=raw_rows(3))).revision == first
    assert opened(write_dataset(name="three", train_prefs=raw_rows(4))).revision != first


def test_missing_directory_and_files_are_named(tmp_path) -> None:
    with pytest.raises(MissingError, match="no directory"):
        opened(tmp_path / "nowhere")
    with pytest.raises(MissingError, match="--train-split"):
        opened(tmp_path)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_missing_columns_are_named(write_dataset, raw_row, form: str) -> None:
    row = raw_row("Why?")
    del row["score_chosen"], row["rejected"]
    directory = write_dataset(form, train_prefs=[row])
    with pytest.raises(VerificationError, match="lacks the columns rejected, score_chosen") as error:
        opened(directory)
    assert "train_prefs" in str(error.value)
    assert error.value.exit_code == 3


def test_columns_of_another_layout_are_shown(tmp_path) -> None:
    (tmp_path / "train_prefs.jsonl").write_text('{"instruction": "q", "output": "a"}\n')
    with pytest.raises(VerificationError, match=r"columns prompt, chosen, rejected: .* got instruction, output"):
        opened(tmp_path)


def test_missing_column_of_the_held_out_part_is_found_at_once(write_dataset, raw_rows, raw_row) -> None:
    row = raw_row("Why?")
    del row["chosen"]
    with pytest.raises(VerificationError, match=r"test_prefs\.jsonl lacks the column chosen"):
        opened(write_dataset(train_prefs=raw_rows(2), test_prefs=[row]))


def test_damaged_json_names_file_and_line(tmp_path, raw_row) -> None:
    good = json.dumps(raw_row("Why?"))
    file = tmp_path / "train_prefs.jsonl"
    file.write_text(f"{good}\n\n{{broken\n")
    source = opened(tmp_path)
    with pytest.raises(VerificationError, match=r"train_prefs\.jsonl, line 3 is not JSON: .* at column 2$"):
        rows_of(source)
    file.write_text(f'{good}\n{{"prompt": "q"\n')
    with pytest.raises(VerificationError, match=r"line 2 is not JSON: expecting ',' delimiter at column 15$"):
        rows_of(opened(tmp_path))  # after the 14 letters of {"prompt": "q"
    file.write_text(f"{good}\n[1]\n")
    with pytest.raises(VerificationError, match="line 2: expected a JSON object, got list"):
        rows_of(opened(tmp_path))
    file.write_bytes(good.encode() + b"\n\xff\xfe\n")
    with pytest.raises(VerificationError, match="is damaged"):
        rows_of(opened(tmp_path))


def test_cut_gzip_and_parquet_are_refused(tmp_path, write_dataset, raw_rows) -> None:
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in raw_rows(200)).encode(), mtime=0)
    (tmp_path / "train_prefs.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(VerificationError, match="is damaged"):
        rows_of(opened(tmp_path))
    directory = write_dataset("parquet", train_prefs=raw_rows(20))
    file = directory / "data" / "train_prefs-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(VerificationError, match="not a readable parquet"):
        opened(directory)


def test_an_empty_file_has_no_rows(tmp_path) -> None:
    (tmp_path / "train_prefs.jsonl").write_bytes(b"")
    assert rows_of(opened(tmp_path)) == []
