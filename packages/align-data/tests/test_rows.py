from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_data.rows import Row, group, normalise, prompt_digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is HTML?", "what  is\n html? "),
        ("ｆｕｌｌ width", "full width"),  # NFKC: full-width letters
        ("Straße", "STRASSE"),  # case folding: ß becomes ss
        ("of\ufb01ce", "office"),  # NFKC: the ligature ﬁ becomes fi
        ("cafe\u0301", "café"),  # NFKC: a combining accent joins its letter
        ("a\u00a0b", "a b"),  # a no-break space is a blank
    ],
)
def test_spellings_of_one_question_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("a b", "ab"), ("What?", "What"), ("1 + 2", "1 - 2")])
def test_different_questions_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_prompt_digest_is_sha256_of_the_key() -> None:
    assert prompt_digest("a b") == hashlib.sha256(b"a b").hexdigest()


def row(prompt: str, prompt_id: str = "", origin: str = "train", **more: object) -> Row:
    return Row(prompt, prompt_id, "good", "bad", 8.0, 2.0, origin, **more)  # type: ignore[arg-type]


def test_rows_of_one_prompt_come_together() -> None:
    found = group([row("A?", "1"), row("B?", "2"), row("a?", "1")])
    assert [(prompt.text, prompt.prompt_id, len(prompt.rows)) for prompt in found.prompts] == [
        ("A?", "1", 2),
        ("B?", "2", 1),
    ]
    assert (found.in_both_parts, found.replaced_ids) == (0, 0)


def test_missing_identifier_becomes_the_digest() -> None:
    found = group([row("  A  b? ")])
    assert found.prompts[0].prompt_id == prompt_digest("a b?")
    assert found.replaced_ids == 1


def test_identifier_of_two_prompts_is_replaced_for_both() -> None:
    found = group([row("A?", "same"), row("B?", "same"), row("C?", "own")])
    assert [prompt.prompt_id for prompt in found.prompts] == [prompt_digest("a?"), prompt_digest("b?"), "own"]
    assert found.replaced_ids == 2


def test_a_prompt_of_both_parts_belongs_to_training() -> None:
    found = group([row("A?", "1", "test"), row("A?", "1", "train"), row("B?", "2", "test")])
    assert [prompt.origin for prompt in found.prompts] == ["train", "test"]
    assert found.in_both_parts == 1


def test_category_and_checks_of_the_source_are_kept() -> None:
    found = group([row("A?"), row("A?", category="creative", checks={"items": []}), row("B?", checks={"items": [1]})])
    assert [(prompt.category, prompt.checks) for prompt in found.prompts] == [
        ("creative", {"items": []}),
        ("", {"items": [1]}),
    ]


def test_score_of_a_prompt_is_the_mean_of_its_chosen_scores(make_prompt) -> None:
    prompt = group([row("A?"), Row("A?", "", "g", "b", 5.0, 1.0)]).prompts[0]
    assert prompt.score == (8.0 + 5.0) / 2
