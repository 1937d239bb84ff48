from __future__ import annotations

import pytest

from align_data.formats import chosen_messages, genrm_messages, pair_rows, parse_score, prompt_rows, sft_rows, tables
from align_data.rows import Prompt, Row


@pytest.fixture
def prompt() -> Prompt:
    rows = (
        Row("Why?", "7", "because", "no", 8.0, 3.0),
        Row("why?", "7", "therefore", "no", 6.5, 3.0),
        Row("Why?", "7", "because", "dunno", 9.0, 2.0),
    )
    return Prompt("why?", "7", "Why?", "train", rows, "factual")


def test_chosen_is_prompt_and_answer() -> None:
    assert chosen_messages("Why?", "because") == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "because"},
    ]


def test_genrm_is_word_for_word_the_study() -> None:
    user, assistant = genrm_messages("Why?", "because", 8.25)
    assert user == {
        "role": "user",
        "content": "User: Why?\n\nAssistant: because\n\nAnalyze the quality of this response.",
    }
    # one decimal; 8.25 is exact in binary and rounds half to even
    assert assistant == {
        "role": "assistant",
        "content": "Score: 8.2/10. The response is helpful, harmless, and honest.",
    }


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 8.5/10. The response is helpful, harmless, and honest.", 8.5),
        ("Score:7/10", 7.0),
        ("I think.\nScore:   10.0/10 and Score: 2/10", 10.0),
        ("Score: 8.5", None),
        ("Score: .5/10", None),
        ("score: 8/10", None),
        ("Score: -3/10", None),
        ("", None),
    ],
)
def test_scores_are_parsed_by_the_studys_expression(text: str, score: float | None) -> None:
    assert parse_score(text) == score


@pytest.mark.parametrize("score", [0.0, 1.0, 5.3, 10.0])
def test_what_is_written_can_be_parsed(score: float) -> None:
    assert parse_score(genrm_messages("p", "a", score)[1]["content"]) == score


def test_an_answer_is_trained_on_once_with_its_mean_score(prompt: Prompt) -> None:
    rows = sft_rows([prompt])
    assert [(row["messages"][1]["content"], row["score"]) for row in rows] == [
        ("because", 8.5),  # (8 + 9) / 2
        ("therefore", 6.5),
    ]
    assert all(row["messages"][0]["content"] == "Why?" and row["prompt_id"] == "7" for row in rows)


def test_genrm_rows_have_the_same_shape(prompt: Prompt) -> None:
    chosen, genrm = sft_rows([prompt]), sft_rows([prompt], "genrm")
    assert [list(row) for row in genrm] == [list(row) for row in chosen] == [["prompt_id", "messages", "score"]] * 2
    assert [parse_score(row["messages"][1]["content"]) for row in genrm] == [8.5, 6.5]


def test_pairs_keep_every_row_under_one_spelling(prompt: Prompt) -> None:
    rows = pair_rows([prompt])
    assert [(row["chosen"], row["rejected"], row["score_chosen"]) for row in rows] == [
        ("because", "no", 8.0),
        ("therefore", "no", 6.5),
        ("because", "dunno", 9.0),
    ]
    assert {(row["prompt_id"], row["prompt"], row["category"]) for row in rows} == {("7", "Why?", "factual")}
    assert list(rows[0]) == ["prompt_id", "prompt", "chosen", "rejected", "score_chosen", "score_rejected", "category"]


def test_prompts_carry_checks_only_where_there_are_some(make_prompt) -> None:
    checks = {"references": ["x"], "items": []}
    rows = prompt_rows([make_prompt("a"), make_prompt("b", checks=checks)])
    assert rows == [
        {"prompt_id": "id-a", "prompt": "a", "category": "factual"},
        {"prompt_id": "id-b", "prompt": "b", "category": "factual", "checks": checks},
    ]


def test_only_train_and_validation_have_sft_rows(prompt: Prompt) -> None:
    splits = {name: [] for name in ("train", "validation", "calibration", "gold", "test")}
    names = set(tables({**splits, "train": [prompt]}))
    assert {name for name in names if name.startswith(("sft/", "genrm/"))} == {
        "sft/train",
        "sft/validation",
        "genrm/train",
        "genrm/validation",
    }
    assert len(names) == 4 + 5 + 5
