from __future__ import annotations

import pytest

from align_data.card_text import _bin_labels, _number, _table, bar, render

CARD = {
    "source": {"name": "here", "revision": None, "license": None, "imported": None},
    "settings": {"seed": 42, "target_size": 10000, "score_bins": 10},
    "rows": {
        "read": 1234,
        "read_by_part": {"train": 1000, "test": 234},
        "dropped": {"equal_scores": 4, "empty_answer": 0},
        "kept": 1230,
        "used": 1230,
    },
    "prompts": {"found": 9, "unused": 1, "with_several_rows": 2, "in_both_parts": 0, "replaced_ids": 0},
    "splits": {
        "train": {"asked": None, "prompts": 5, "factual": 2, "instruction": 2, "creative": 1, "pairs": 1225, "sft": 7},
        "test": {"asked": 300, "prompts": 3, "factual": 1, "instruction": 1, "creative": 1, "pairs": 5, "sft": None},
    },
    "duplicates": {"rows_dropped": 0, "sft_answers_merged": 3, "near_duplicates_of_test": 1},
    "leakage": {"shared_prompts": {"train/test": 0}, "total": 0},
    "corpus": 24000,
    "category_rules": {"factual: a question somewhere": 9},
    "examples": {"factual": ["What is *this* <b>?"], "instruction": [], "creative": []},
    "scores": {
        "edges": [1.0, 2.0],
        "top": 3.0,
        "histograms": {"chosen": [0, 8], "rejected": [8, 0]},
        "summaries": {
            "chosen": {"n": 8, "mean": 2.5, "median": 2.5, "p90": 3.0, "max": 3.0},
            "rejected": {"n": 0},
        },
    },
    "words": {
        "edges": [0, 8, 16],
        "top": None,
        "histograms": {"prompt": [4, 1, 0]},
        "summaries": {"prompt": {"n": 5, "mean": 5.25, "median": 5, "p90": 9, "max": 1500}},
    },
    "chosen_longer": 0.711,
    "notes": ["The test split is small."],
}


def test_bars_have_eighths_and_small_numbers_show() -> None:
    assert bar(16, 16, width=4) == "████"
    assert bar(8, 16, width=4) == "██"
    assert bar(1, 16, width=4) == "▎"  # 1/16 of 4 characters is a quarter of one
    assert bar(1, 10**6, width=4) == "▏"
    assert bar(0, 16) == bar(1, 0) == ""


def test_numbers() -> None:
    assert [_number(value) for value in (None, 0, 1234, 1234567, 2.0, 0.256)] == [
        "",
        "0",
        "1 234",
        "1 234 567",
        "2",
        "0.26",
    ]


def test_bin_labels() -> None:
    assert _bin_labels([0, 8, 16], None) == ["0 – 8", "8 – 16", "16 +"]
    assert _bin_labels([1.0, 2.5], 4.0) == ["1 – 2.5", "2.5 – 4"]


def test_tables_line_up() -> None:
    lines = _table(("name", "n"), [["a", "1"], ["long name", "1 000"]])
    assert lines == [
        "| name      |     n |",
        "| --------- | ----: |",
        "| a         |     1 |",
        "| long name | 1 000 |",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "- Leakage: **0** prompts shared by any two splits (1 pairs of splits checked, in all files)",
        "- Licence: not stated by the source",
        "- The test split is small.",
        "| test  |   300 |       3 |       1 |           1 |        1 |     5 |          |",
        "| all   |       |       8 |       3 |           3 |        2 | 1 230 |        7 |",
        "`corpus.jsonl` has 24 000 texts and holds no test prompt.",
        "Read 1 234 (train 1 000, test 234), dropped 4, kept 1 230, used 1 230.",
        "| `equal_scores` | both answers have the same score |    4 |",
        "> What is \\*this\\* \\<b\\>?",
    ],
)
def test_the_page_says(line: str) -> None:
    assert line in render(CARD).split("\n")


def test_empty_reasons_examples_and_last_bins_are_left_out() -> None:
    page = render(CARD)
    assert "empty_answer" not in page
    assert "called creative" not in page
    assert "16 +" not in page
    assert "8 – 16" in page
    assert "71.1 %" in page


def test_nothing_to_note_no_section() -> None:
    assert "## Not as asked" not in render({**CARD, "notes": []})
    assert render({**CARD, "corpus": None}).count("corpus.jsonl") == 0
