import pytest

from align_mlx.chat import decode_response, encode_turn
from align_sft.tokenizer import SPECIAL, document_ids, train_tokenizer

LINES = ["the red fox has a hat, and the owl sleeps."] * 20 + ["which colour has the fox?\nthe fox is red."] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(LINES, 256)


def test_special_tokens_have_gemmas_places(tokenizer):
    assert [tokenizer.convert_tokens_to_ids(t) for t in SPECIAL] == [0, 1, 2, 3, 4, 5]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, 2)
    assert len(tokenizer) <= 256


def test_a_word_of_the_corpus_is_one_token_wherever_it_stands(tokenizer):
    fox = tokenizer.encode("fox", add_special_tokens=False)
    assert len(fox) == 1
    for text, place in (("the fox", 1), ("the\nfox", 2), ("<start_of_turn>fox", 1), ("owl, fox", 2)):
        assert tokenizer.encode(text, add_special_tokens=False)[place] == fox[0]


@pytest.mark.parametrize("text", ["the red fox.", "a  b", "Xy-3 (9%)", "the fox\nis red", "42, and 7!"])
def test_text_survives_a_round_trip(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text


def test_what_the_corpus_lacks_is_unknown_and_nothing_else_is_lost(tokenizer):
    ids = tokenizer.encode("the ☃ fox", add_special_tokens=False)
    assert tokenizer.unk_token_id in ids
    assert tokenizer.decode(ids).endswith("fox")


def test_template_writes_gemmas_turns(tokenizer):
    turns = [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "fox"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == (
        "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nfox<end_of_turn>\n<start_of_turn>model\n"
    )
    with pytest.raises(Exception, match="user and assistant"):
        tokenizer.apply_chat_template([{"role": "system", "content": "x"}], tokenize=False)


def test_the_answer_is_exactly_the_models_turn(resident):
    tokenizer, ends = resident.tokenizer, resident.end_tokens
    turn = encode_turn(tokenizer, "which colour has the fox?", "the fox is red.", ends)
    assert tokenizer.decode(turn.prompt).endswith("<start_of_turn>model\n")
    assert tokenizer.decode(turn.response) == "the fox is red.<end_of_turn>"
    assert decode_response(tokenizer, list(turn.response), ends) == "the fox is red."


def test_documents(tokenizer):
    line = document_ids(tokenizer, "the fox", 10)
    assert (line[0], line[-1], len(line)) == (2, 1, 4)
    assert document_ids(tokenizer, "the fox", 2) == line[:2]
    dialogue = document_ids(tokenizer, "which fox?\nthe owl.", 99)
    assert tokenizer.decode(dialogue) == (
        "<bos><start_of_turn>user\nwhich fox?<end_of_turn>\n<start_of_turn>model\nthe owl.<end_of_turn>"
    )
