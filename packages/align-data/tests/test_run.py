from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align_contracts import open_artifact, space
from align_contracts.errors import MissingError, PreflightError, VerificationError
from align_contracts.space import jsonl_bytes
from align_data import embedded
from align_data import run as data_run
from align_data.config import BuildConfig
from align_data.run import run
from align_data.split import SPLITS

SIZES = {"validation": 4, "calibration": 3, "gold": 5, "test": 6}
ROLES = {
    *(f"{folder}_{split}" for folder in ("pairs", "prompts") for split in SPLITS),
    *(f"{folder}_{split}" for folder in ("sft", "genrm") for split in ("train", "validation")),
}


def build(out: Path, source: object, **changes: Any):
    run(BuildConfig(out=out, source=str(source), **{"quiet": True, **SIZES, **changes}))
    return open_artifact(out, kind="dataset", deep=True)


@pytest.fixture
def directory(write_dataset, raw_rows) -> Path:
    return write_dataset("parquet", train_prefs=raw_rows(40), test_prefs=raw_rows(12, start=40))


def test_the_artifact_holds_every_file_and_says_what_is_in_it(tmp_path, directory) -> None:
    art = build(tmp_path / "data", directory, license="CC0")
    details = art.details
    assert (details.source, details.license, details.split_seed) == ("prefs", "CC0", 42)
    assert details.revision.startswith("sha256:")
    assert tuple(details.formats) == ("chosen", "genrm")
    assert details.has_checks is False
    assert set(details.counts) == ROLES
    for role, count in details.counts.items():
        assert len(art.read_jsonl(role)) == count, role
    # 40 training prompts: 4 + 3 + 5 cut off; 6 of the 12 held-out ones
    sizes = {split: details.counts[f"prompts_{split}"] for split in SPLITS}
    assert sizes == {"train": 28, "validation": 4, "calibration": 3, "gold": 5, "test": 6}
    assert details.categories["test"] == {"factual": 2, "instruction": 2, "creative": 2}
    assert art.read_json("card")["leakage"]["total"] == 0
    assert art.file("card_text").read_text().startswith("# Data card\n")
    assert art.manifest.seeds == [42] or tuple(art.manifest.seeds) == (42,)


def test_the_disk_is_asked_for_what_is_written(tmp_path, directory, monkeypatch) -> None:
    asked: list[tuple[Path, dict[str, int]]] = []
    monkeypatch.setattr(data_run, "require_space", lambda *given: asked.append(given))
    art = build(tmp_path / "data", directory)
    tables = sum(path.stat().st_size for path in art.path.rglob("*.jsonl"))
    assert asked == [(tmp_path / "data", {"the tables": tables, "the corpus": 0})]


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, directory, monkeypatch) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda target: 10_000)
    with pytest.raises(PreflightError, match=r"/data needs more disk than there is: expected .* \(the tables"):
        build(tmp_path / "data", directory)
    assert not list(tmp_path.glob("*data*"))


def test_the_corpus_is_no_larger_than_is_asked_for() -> None:
    size = jsonl_bytes({"text": text} for text in embedded.corpus(42, set()))
    assert embedded.CORPUS_BYTES / 2 < size < embedded.CORPUS_BYTES


def test_test_prompts_are_held_out_everywhere(tmp_path, directory) -> None:
    art = build(tmp_path / "data", directory)
    test = {row["prompt"] for row in art.read_jsonl("prompts_test")}
    assert {row["prompt"] for row in art.read_jsonl("pairs_test")} == test
    for role in ROLES - {"prompts_test", "pairs_test"}:
        assert not any(prompt in json.dumps(row) for row in art.read_jsonl(role) for prompt in test), role


def test_rows_follow_their_prompt(tmp_path, write_dataset, raw_rows, raw_row) -> None:
    rows = [raw_row(row["prompt"], f"good {n}", f"bad {n}") for row in raw_rows(30) for n in range(3)]
    art = build(tmp_path / "data", write_dataset(train_prefs=rows))
    for split in SPLITS:
        prompts = [row["prompt_id"] for row in art.read_jsonl(f"prompts_{split}")]
        pairs = [row["prompt_id"] for row in art.read_jsonl(f"pairs_{split}")]
        assert pairs == [prompt for prompt in prompts for _ in range(3)]


def test_equal_input_equal_bytes(tmp_path, write_dataset, raw_rows) -> None:
    rows = raw_rows(40)
    first = build(tmp_path / "a", write_dataset(name="one", train_prefs=rows))
    again = build(tmp_path / "b", write_dataset(name="one", train_prefs=rows))
    assert first.content_digest == again.content_digest
    files = sorted(path.relative_to(first.path) for path in first.path.rglob("*.json*") if path.name != "manifest.json")
    assert len(files) >= len(ROLES)
    assert all((first.path / file).read_bytes() == (again.path / file).read_bytes() for file in files)
    assert build(tmp_path / "c", tmp_path / "one", seed=43).content_digest != first.content_digest


def test_the_order_of_the_source_changes_no_split(tmp_path, write_dataset, raw_rows) -> None:
    first = build(tmp_path / "a", write_dataset(name="one", train_prefs=raw_rows(40)))
    turned = build(tmp_path / "b", write_dataset(name="two", train_prefs=raw_rows(40)[::-1]))
    for role in ROLES:
        assert first.read_jsonl(role) == turned.read_jsonl(role), role


def test_no_path_of_this_machine_is_in_the_artifact(tmp_path, directory) -> None:
    art = build(tmp_path / "data", directory)
    for path in art.path.rglob("*"):
        if path.is_file() and path.name != "manifest.json":  # which records where the run wrote
            assert str(tmp_path) not in path.read_text(), path.name
    assert art.manifest.config["source"] == "prefs"


def test_embedded_world_with_checks_and_corpus(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(embedded.world, "CORPUS_LINES", 200)
    art = build(tmp_path / "data", "embedded", embedded_prompts=60)
    assert art.details.has_checks is True
    assert art.details.counts["corpus"] == len(art.read_jsonl("corpus")) == 200
    assert all(row["checks"]["items"] for row in art.read_jsonl("prompts_test"))
    test = [row["prompt"] for row in art.read_jsonl("prompts_test")]
    assert len(test) == 6
    assert not any(prompt in row["text"] for row in art.read_jsonl("corpus") for prompt in test)


def test_card_page_message_and_manifest_say_the_same_of_a_small_source(
    tmp_path, write_dataset, raw_rows, capsys
) -> None:
    rows = [row for row in raw_rows(36) if "poem" not in row["prompt"]]  # 12 factual, 12 instruction, none creative
    asked = {"validation": 0, "calibration": 0, "gold": 0, "test": 18, "quiet": False}
    art = build(tmp_path / "data", write_dataset(train_prefs=rows), **asked)
    card, page = art.read_json("card"), art.file("card_text").read_text()
    # room for 24 / 2 = 12 prompts, 4 of each category
    assert art.details.categories["test"] == {"factual": 4, "instruction": 4, "creative": 0}
    assert len(art.read_jsonl("prompts_test")) == art.details.counts["prompts_test"] == 8
    assert (card["splits"]["test"]["asked"], card["splits"]["test"]["prompts"]) == (18, 8)
    assert "asked for: test 8 of 18. The source has 24 in all" in card["notes"][0]
    assert (
        "wants 4 prompts of each category and takes factual 4 of 12, instruction 4 of 12, creative 0 of 0"
        in (card["notes"][1])
    )
    assert all(f"- {note}" in page for note in card["notes"])
    assert "8 of 18 " in capsys.readouterr().err


def left_behind(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.rglob("*") if "data" in path.name or path.name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({}, VerificationError, "is empty"),
        ({"score_chosen": 3.0}, VerificationError, "2 both answers have the same score"),
        ({"chosen": [], "rejected": []}, VerificationError, "2 an answer is empty"),
    ],
)
def test_nothing_usable_leaves_nothing_behind(tmp_path, write_dataset, raw_row, changes, error, words: str) -> None:
    rows = [raw_row("Why?", **changes), raw_row("How?", **changes)] if changes else []
    directory = write_dataset(name="input", train_prefs=rows)
    with pytest.raises(error, match=words) as raised:
        build(tmp_path / "data", directory)
    assert raised.value.exit_code == 3
    assert left_behind(tmp_path) == []


def test_only_held_out_rows_are_not_enough(tmp_path, write_dataset, raw_rows) -> None:
    directory = write_dataset(name="input", train_prefs=[], test_prefs=raw_rows(3))
    with pytest.raises(VerificationError, match="no usable training row"):
        build(tmp_path / "data", directory)


@pytest.mark.parametrize("line", ["{broken", '{"prompt": "x"}'])
def test_damage_leaves_nothing_behind(tmp_path, write_dataset, raw_rows, line: str) -> None:
    directory = write_dataset(name="input", train_prefs=raw_rows(30))
    file = directory / "train_prefs.jsonl"
    file.write_text(line + "\n" + file.read_text())
    with pytest.raises(VerificationError, match=r"train_prefs\.jsonl"):
        build(tmp_path / "data", directory)
    assert left_behind(tmp_path) == []


def test_leakage_publishes_nothing(tmp_path, directory, monkeypatch) -> None:
    from align_data import run as module

    original = module.formats.tables

    def leaking(splits, formats):
        tables = original(splits, formats)
        tables["pairs/train"] += tables["pairs/test"]
        return tables

    monkeypatch.setattr(module.formats, "tables", leaking)
    with pytest.raises(VerificationError, match="leakage"):
        build(tmp_path / "out", directory)
    assert not (tmp_path / "out").exists()


def test_an_existing_artifact_is_kept_unless_asked(tmp_path, directory) -> None:
    first = build(tmp_path / "data", directory)
    with pytest.raises(PreflightError):
        build(tmp_path / "data", directory, seed=43)
    assert open_artifact(tmp_path / "data").content_digest == first.content_digest
    assert build(tmp_path / "data", directory, seed=43, overwrite=True).content_digest != first.content_digest


def test_missing_directory(tmp_path) -> None:
    with pytest.raises(MissingError):
        build(tmp_path / "data", tmp_path / "nowhere")
    assert left_behind(tmp_path) == []


@pytest.mark.shared
def test_real_preferences(tmp_path, alpaca_prefs) -> None:
    """Figures counted by hand from the files: 3 021 + 599 rows over 505 + 300 prompts, none in both."""
    art = build(tmp_path / "data", alpaca_prefs, validation=40, calibration=40, gold=0, test=300)
    card = art.read_json("card")
    assert card["rows"]["read_by_part"] == {"train": 3021, "test": 599}
    assert card["rows"]["kept"] + sum(card["rows"]["dropped"].values()) == 3620
    assert (card["prompts"]["found"], card["prompts"]["in_both_parts"]) == (805, 0)
    assert [row["prompts"] for row in card["splits"].values()][:4] == [425, 40, 40, 0]
    assert all(count <= 100 for count in art.details.categories["test"].values())
    assert any("creative" in note for note in card["notes"])
