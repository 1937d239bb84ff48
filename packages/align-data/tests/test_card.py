from __future__ import annotations

import json

import pytest

from align_data import card as cards
from align_data import categories, formats, leakage
from align_data.clean import REASONS, clean
from align_data.rows import group
from align_data.source import Source
from align_data.split import SPLITS, Sizes, divide

SETTINGS = {"seed": 42, "target_size": 100, "score_bins": 3}


@pytest.fixture
def card(raw_rows, raw_row):
    """The card of 24 prompts, one of them with a second row, and two rows that are dropped."""
    rows = [("train", row) for row in raw_rows(24)]
    rows.append(("train", raw_row("What is the distance to star number 0?", "another", "worse")))
    rows += [("train", raw_row("Why?", score_chosen=3.0)), ("test", raw_row("Why?", chosen=""))]
    cleaned = clean(rows)
    grouping = group(cleaned.rows)
    grouping.prompts = categories.assign(grouping.prompts)
    divided = divide(grouping.prompts, Sizes(100, 3, 3, 2, 1, 6), 42)
    tables = formats.tables(divided.splits)
    return cards.build(
        source=Source("here", "r1", None, ()),
        cleaned=cleaned,
        grouping=grouping,
        divided=divided,
        tables=tables,
        leakage=leakage.check(tables),
        corpus=None,
        settings=SETTINGS,
    )


def test_rows_add_up(card) -> None:
    assert card["rows"]["read"] == 27
    assert card["rows"]["read_by_part"] == {"train": 26, "test": 1}
    assert card["rows"]["kept"] == card["rows"]["used"] == 25
    assert list(card["rows"]["dropped"]) == list(REASONS)
    assert {name: n for name, n in card["rows"]["dropped"].items() if n} == {"equal_scores": 1, "empty_answer": 1}


def test_prompts_add_up(card) -> None:
    assert card["prompts"] == {
        "found": 24,
        "unused": 0,
        "with_several_rows": 1,
        "in_both_parts": 0,
        "replaced_ids": 0,
    }
    assert list(card["splits"]) == list(SPLITS)
    assert [row["prompts"] for row in card["splits"].values()] == [12, 3, 2, 1, 6]
    for row in card["splits"].values():
        assert row["factual"] + row["instruction"] + row["creative"] == row["prompts"]
    assert sum(row["pairs"] for row in card["splits"].values()) == 25
    assert [row["sft"] is None for row in card["splits"].values()] == [False, False, True, True, True]


def test_leakage_is_zero_and_counted_for_all_pairs(card) -> None:
    assert card["leakage"]["total"] == 0
    assert len(card["leakage"]["shared_prompts"]) == 10


def test_rules_cover_every_prompt(card) -> None:
    assert sum(card["category_rules"].values()) == 24
    assert set(card["category_rules"]) == {
        "factual: a question or a request for knowledge",
        "instruction: a piece of work",
        "creative: something invented",
    }


def test_examples_are_training_prompts_on_one_line(card, make_prompt) -> None:
    assert set(card["examples"]) == {"factual", "instruction", "creative"}
    assert all(len(texts) <= 3 for texts in card["examples"].values())
    long = cards._examples([make_prompt("a\nb " + "word " * 50)])["factual"][0]
    assert long.startswith("a b word")
    assert long.endswith("…")
    assert len(long) <= 100


def test_a_category_of_the_source_is_called_so(raw_row) -> None:
    given = group(clean([("train", raw_row("Why?", category="creative"))]).rows)
    assert cards._rules(categories.assign(given.prompts)) == {"creative: given by the source": 1}


def test_card_is_plain_finite_json(card) -> None:
    assert json.loads(json.dumps(card, allow_nan=False)) == card
