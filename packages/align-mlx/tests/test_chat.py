import pytest

from align_contracts.errors import ConfigError
from align_mlx.chat import (
    Tokens,
    control_tokens,
    decode_response,
    encode_prompt,
    encode_turn,
    has_control_tokens,
    turn_end,
)

# Ids by hand: bos 2, start_of_turn 4, end_of_turn 5, line break 6, user 7, model 8, w0 9, w1 10, …
ENDS = frozenset({1, 5})
PROMPT = (2, 4, 7, 6, 9, 10, 5, 6, 4, 8, 6)  # <bos><start_of_turn>user\n w0 w1 <end_of_turn>\n<start_of_turn>model\n


@pytest.fixture
def tokenizer(resident):
    return resident.tokenizer


def test_prompt_ends_where_the_answer_begins(tokenizer):
    assert encode_prompt(tokenizer, "w0 w1") == PROMPT


def test_turn_is_exact_to_the_token(tokenizer):
    # The line break after <end_of_turn> belongs to the template, not to the answer.
    assert encode_turn(tokenizer, "w0 w1", "w2 w3", ENDS) == Tokens(PROMPT, (11, 12, 5))


def test_turn_stops_at_its_first_end_token(tokenizer):
    assert encode_turn(tokenizer, "w0 w1", "w2 <eos> w3", ENDS) == Tokens(PROMPT, (11, 1))
    assert encode_turn(tokenizer, "w0 w1", "w2 <end_of_turn> w3", ENDS) == Tokens(PROMPT, (11, 5))


def test_control_tokens_are_the_special_ones_and_no_line_break(tokenizer):
    control = control_tokens(tokenizer)
    assert set(control) == {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"}
    assert has_control_tokens(control, "w1", "w1 <eos> w2")
    assert has_control_tokens(control, "a<start_of_turn>user", "w1")
    # Words of the template, a line break, a word that is not in the vocabulary, marks that are no token.
    assert not has_control_tokens(control, "user\nmodel unheard-of", "<end> of_turn>", "")


def test_an_added_word_or_blank_of_the_template_is_text(tokenizer_of):
    template = "{% for m in messages %}user\n[Q] {{ m['content'] }} [/Q]{% endfor %}"
    tokenizer = tokenizer_of(template)
    tokenizer.add_tokens(["user", "[Q]", "[table]"])
    added = set(control_tokens(tokenizer)) - {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"}
    assert added == {"[Q]"}  # [table] is an added token that the template does not write; [/Q] is none


def test_an_empty_answer_is_its_end_token(tokenizer):
    assert encode_turn(tokenizer, "w0 w1", "", ENDS).response == (5,)


def test_a_template_without_end_token_gets_one(tokenizer_of):
    bare = tokenizer_of(
        "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    assert encode_turn(bare, "w0", "w1", ENDS) == Tokens((7, 9, 3), (10, 1))
    # The tokenizer's own end of a text (1) if it ends a response, else any.
    assert encode_turn(bare, "w0", "w1", frozenset({0, 1, 5})).response == (10, 1)
    assert encode_turn(bare, "w0", "w1", frozenset({5})).response == (10, 5)


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer_of):
    # Here the generation prompt differs from what stands before an answer (as templates that drop thoughts do).
    rewriting = tokenizer_of(
        "{% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}model {% endif %}"
    )
    with pytest.raises(ConfigError, match="rewrites the prompt"):
        encode_turn(rewriting, "w0", "w1", ENDS)


@pytest.mark.parametrize(
    ("behind", "end"),
    [
        ("<end_of_turn>\n", 5),
        ("<eos>", 1),
        (" <eos>", 1),
        ("\n<end_of_turn>\n", 5),  # the line break is an added token too, but no answer ends at its first line
        ("", None),
        ("\n", None),
        (" w3 <eos>", None),
    ],
)
def test_turn_end_is_the_special_token_right_behind_an_answer(tokenizer_of, behind, end):
    template = "{% for m in messages %}<start_of_turn>{{ m['content'] }}" + behind + "{% endfor %}"
    assert turn_end(tokenizer_of(template)) == end


def test_decode_drops_the_end_token_only(tokenizer):
    assert decode_response(tokenizer, [11, 12, 5], ENDS) == "w2 w3"
    assert decode_response(tokenizer, [11, 12], ENDS) == "w2 w3"
    assert decode_response(tokenizer, [5], ENDS) == ""
    assert decode_response(tokenizer, [], ENDS) == ""


def test_tokens_join():
    row = Tokens((1, 2), (3,))
    assert row.ids == (1, 2, 3)
    assert len(row) == 3
    assert row.empty
    assert not Tokens((1, 2), (9, 3)).empty
