from __future__ import annotations

import pytest

from align_contracts.errors import VerificationError
from align_data.formats import tables
from align_data.leakage import check, guarded_corpus
from align_data.split import SPLITS


@pytest.fixture
def clean_tables(make_prompt):
    """One prompt in each split."""
    return tables({name: [make_prompt(f"A question for {name}?")] for name in SPLITS})


def test_disjoint_splits_pass(clean_tables) -> None:
    found = check(clean_tables)
    assert len(found.shared) == 10  # 5 splits make 5 · 4 / 2 pairs
    assert set(found.shared.values()) == {0}
    assert found.near == 0


@pytest.mark.parametrize(("folder", "split"), [("sft", "train"), ("pairs", "train"), ("prompts", "gold")])
def test_a_test_prompt_in_any_other_file_is_refused(clean_tables, make_prompt, folder: str, split: str) -> None:
    stolen = tables({**{name: [] for name in SPLITS}, "train": [make_prompt("A question for test?")]})
    clean_tables[f"{folder}/{split}"] += stolen[f"{folder}/train"]
    with pytest.raises(VerificationError, match=f"{split}/test: 2"):  # its text and its identifier
        check(clean_tables)


def test_a_test_prompt_inside_genrm_rows_is_refused_by_its_identifier(clean_tables) -> None:
    clean_tables["genrm/validation"][0]["prompt_id"] = clean_tables["prompts/test"][0]["prompt_id"]
    with pytest.raises(VerificationError, match="validation/test: 1"):
        check(clean_tables)


def test_another_spelling_and_another_identifier_do_not_hide_a_leak(clean_tables) -> None:
    row = {**clean_tables["pairs/test"][0], "prompt": "a QUESTION  for ｔｅｓｔ?", "prompt_id": "unheard of"}
    clean_tables["pairs/train"].append(row)
    with pytest.raises(VerificationError, match="train/test: 1"):
        check(clean_tables)


def test_punctuation_and_longer_prompts_are_counted_not_refused(make_prompt) -> None:
    splits = {name: [] for name in SPLITS}
    splits["test"] = [make_prompt("What is love?"), make_prompt("Name a bird."), make_prompt("Add 2 and 3")]
    splits["train"] = [make_prompt("what is love"), make_prompt("Please, name a bird!"), make_prompt("Add 2 and 34")]
    assert check(tables(splits)).near == 2  # "and 3" is no whole word of "and 34"


def test_corpus_passes_when_no_test_prompt_is_in_it() -> None:
    texts = ["add 2 and 34 is 36.", "madadd 2 and 3", "something else"]
    assert list(guarded_corpus(texts, {"Add 2 and 3"})) == texts


@pytest.mark.parametrize("text", ["add 2 and 3", "Please ADD  2 and 3, now.", "xadd 2 and 3; add 2 and 3"])
def test_corpus_with_a_test_prompt_is_refused(text: str) -> None:
    with pytest.raises(VerificationError, match="corpus"):
        list(guarded_corpus(["fine", text], {"Add 2 and 3"}))
