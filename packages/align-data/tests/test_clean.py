from __future__ import annotations

from typing import Any

import pytest

from align_data.clean import REASONS, Dropped, clean, parse_row


def chat(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def test_chat_lists_and_plain_strings_give_the_same_row(raw_row) -> None:
    plain = raw_row("Why?", chosen="a good answer", rejected="bad")
    assert parse_row(plain) == parse_row(raw_row("Why?"))
    assert parse_row(plain).chosen == "a good answer"


def test_outer_blanks_go(raw_row) -> None:
    row = parse_row(raw_row("Why?", prompt="  Why?\n", chosen=" yes \n", rejected="\tno"))
    assert (row.prompt, row.chosen, row.rejected) == ("Why?", "yes", "no")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": None}, "malformed"),
        ({"prompt": 7}, "malformed"),
        ({"chosen": None}, "malformed"),
        ({"chosen": ["a", "b"]}, "malformed"),
        ({"chosen": chat(("user", "Why?"), ("assistant", None))}, "malformed"),
        ({"chosen": "lone surrogate \ud800"}, "malformed"),
        ({"chosen": chat(("user", "Why?"))}, "multi_turn"),
        ({"chosen": chat(("system", "Be kind."), ("user", "Why?"), ("assistant", "x"))}, "multi_turn"),
        (
            {"rejected": chat(("user", "Why?"), ("assistant", "x"), ("user", "And?"), ("assistant", "y"))},
            "multi_turn",
        ),
        ({"chosen": chat(("assistant", "x"), ("user", "Why?"))}, "multi_turn"),
        ({"chosen": chat(("user", "Another question"), ("assistant", "x"))}, "prompt_mismatch"),
        ({"prompt": " ", "chosen": "x", "rejected": "y"}, "empty_prompt"),
        ({"chosen": []}, "empty_answer"),
        ({"chosen": ""}, "empty_answer"),
        ({"rejected": chat(("user", "Why?"), ("assistant", " \n"))}, "empty_answer"),
        ({"score_chosen": None}, "no_score"),
        ({"score_rejected": float("nan")}, "no_score"),
        ({"score_chosen": "8"}, "no_score"),
        ({"score_chosen": True}, "no_score"),
        ({"chosen": "same  text", "rejected": "same text\n"}, "identical_answers"),
        ({"score_chosen": 3.0}, "equal_scores"),
        ({"score_chosen": 2.5}, "inverted_scores"),
    ],
)
def test_what_cannot_be_used_is_dropped_for_its_reason(raw_row, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Dropped) as dropped:
        parse_row(raw_row("Why?", **changes))
    assert dropped.value.reason == reason


def test_questions_are_compared_as_normalised_text(raw_row) -> None:
    assert parse_row(raw_row("Why?", prompt="WHY? ")).prompt == "WHY?"


def test_missing_identifier_is_empty_and_numbers_become_text(raw_row) -> None:
    assert parse_row(raw_row("Why?", prompt_id=None)).prompt_id == ""
    assert parse_row(raw_row("Why?", prompt_id=17)).prompt_id == "17"


def test_every_reason_is_counted_and_kept_rows_stay_in_order(raw_row) -> None:
    rows = [
        ("train", raw_row("B?")),
        ("train", raw_row("A?", score_chosen=3.0)),
        ("train", raw_row("b?", prompt_id="other")),  # the same prompt and answers as the first
        ("test", raw_row("B?", good="another answer")),
        ("test", raw_row("A?", chosen="")),
    ]
    cleaned = clean(rows)
    assert [(row.prompt, row.chosen, row.origin) for row in cleaned.rows] == [
        ("B?", "a good answer", "train"),
        ("B?", "another answer", "test"),
    ]
    assert cleaned.dropped == {"equal_scores": 1, "duplicate_row": 1, "empty_answer": 1}
    assert (cleaned.read, cleaned.read_by_part) == (5, {"train": 3, "test": 2})


def test_a_missing_column_value_is_dropped_not_raised() -> None:
    assert clean([("train", {})]).dropped == {"malformed": 1}


def test_every_reason_has_a_sentence() -> None:
    assert all(REASONS.values())
