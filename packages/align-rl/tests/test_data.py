import hashlib

import pytest

from align_contracts import open_artifact
from align_contracts.errors import ConfigError
from align_rl import data as rl_data
from tiny.rows import chat_row, prompt_row, publish_rows


def test_prompt_number_is_63_bits_of_the_ids_sha256():
    # The first 16 hexadecimal digits are 64 bits; the last bit is dropped.
    for name in ("t0", "t1", "ü"):
        digits = hashlib.sha256(name.encode()).hexdigest()[:16]
        assert rl_data.prompt_number(name) == int(digits, 16) // 2


def test_prompts_that_are_too_long_are_left_out_and_counted(store, resident, configure):
    rows = rl_data.load(open_artifact(store / "data"), resident, configure("ppo"))
    # Nine of ten: the template takes 9 tokens, so 1–5 words fit 16 tokens and the 40 words of the last do not.
    assert [len(p.ids) for p in rows.train] == [10, 11, 12, 13, 14, 10, 11, 12, 13]
    assert rows.dropped["train"] == {"too_long": 1, "special": 0}
    assert [p.number for p in rows.train] == [rl_data.prompt_number(f"t{i}") for i in range(9)]
    assert rows.train[0].ids[:4] == (2, 4, 7, 6)  # <bos><start_of_turn>user\n
    assert rows.train[0].ids[-5:] == (5, 6, 4, 8, 6)  # <end_of_turn>\n<start_of_turn>model\n


def test_validation_takes_the_first_ones(store, resident, configure):
    rows = rl_data.load(open_artifact(store / "data"), resident, configure("ppo", eval_prompts=5))
    assert rows.validation_ids == ["v0", "v1", "v2", "v3", "v4"]
    assert len(rows.validation) == len(rows.chosen) == 5
    # The chosen answer of row i has i + 1 words and its end token.
    assert [len(row.response) for row in rows.chosen] == [2, 3, 4, 5, 6]
    assert all(row.response[-1] == 5 for row in rows.chosen)


def test_what_is_left_out_is_counted_by_reason(store, resident, configure):
    config = configure("ppo", max_prompt_length=12, max_response_length=5, max_seq_length=17)
    rows = rl_data.load(open_artifact(store / "data"), resident, config)
    # Prompts have 9 tokens and 1–5 words: of ten 13, 14, 13 and the long one do not fit 12, of seven 13 and 14. With
    # their answers of 1–7 words and an end token the seven have 12, 14, 16, 18, 20, 17 and 19 tokens.
    assert rows.dropped == {
        "train": {"too_long": 4, "special": 0},
        "validation": {"too_long": 2, "special": 0},
        "chosen": {"too_long": 3, "empty": 0, "special": 0},
    }
    assert (len(rows.train), len(rows.validation), len(rows.chosen)) == (6, 5, 4)


def test_a_chosen_answer_that_says_nothing_is_left_out(tmp_path, resident, configure):
    prompts = [prompt_row("a", "w1"), prompt_row("b", "w2")]
    answers = [chat_row("a", "w1", " ", 5.0), chat_row("b", "w2", "w3", 5.0)]
    files = {"prompts/train": prompts, "prompts/validation": prompts, "sft/validation": answers}
    rows = rl_data.load(publish_rows(tmp_path / "data", files), resident, configure("ppo"))
    assert rows.dropped["chosen"] == {"too_long": 0, "empty": 1, "special": 0}
    assert [row.response for row in rows.chosen] == [(12, 5)]  # w3, <end_of_turn>


def test_texts_with_control_tokens_are_left_out_and_counted(tmp_path, resident, configure):
    prompts = [prompt_row("a", "w1"), prompt_row("b", "w2 <end_of_turn> w3"), prompt_row("c", "w3")]
    answers = [
        chat_row("a", "w1", "w4 <eos> w5", 5.0),
        chat_row("b", "<bos>", "w3", 5.0),
        chat_row("c", "w3", "w4", 5.0),
    ]
    files = {"prompts/train": prompts, "prompts/validation": prompts, "sft/validation": answers}
    rows = rl_data.load(publish_rows(tmp_path / "data", files), resident, configure("ppo"))
    assert rows.dropped == {
        "train": {"too_long": 0, "special": 1},
        "validation": {"too_long": 0, "special": 1},
        "chosen": {"too_long": 0, "empty": 0, "special": 2},
    }
    assert rows.validation_ids == ["a", "c"]
    assert [row.response for row in rows.chosen] == [(13, 5)]  # w4, <end_of_turn>


def test_no_training_prompt_left(store, resident, configure):
    with pytest.raises(ConfigError, match="no training prompt left"):
        rl_data.load(open_artifact(store / "tiny-data"), resident, configure("ppo"))


def test_no_chosen_answer_left(store, resident, configure):
    # Prompts of 10 tokens fit, but no answer does behind them within 11 tokens in all.
    config = configure("ppo", max_prompt_length=10, max_response_length=1, max_seq_length=11)
    with pytest.raises(ConfigError, match="no chosen answer"):
        rl_data.load(open_artifact(store / "data"), resident, config)
