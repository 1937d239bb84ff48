"""The completion mask under the templates of four model families, with one token a word and with byte-level BPE.

The expected texts are written by hand after the families' formats; no code of ours makes them.
"""

import random
from collections.abc import Callable

import pytest
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from align_mlx.chat import Tokens, control_tokens, decode_response, encode_prompt, encode_turn, turn_end
from tiny.templates import TEMPLATES
from tiny.tokenizer import bpe_tokenizer, word_tokenizer

PROMPTS = {
    "gemma": "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    "llama3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "qwen2": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "qwen3": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "mistral": "<s>[INST] {}[/INST]",
}
ENDS = {
    "gemma": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "qwen2": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "mistral": "</s>",
}
# What a template makes of blanks around an answer.
ANSWERS: dict[str, Callable[[str], str]] = {
    "gemma": str.strip,
    "llama3": str.strip,
    "qwen2": str,
    "qwen3": lambda text: text.lstrip("\n"),
    "mistral": lambda text: " " + text.strip(),
}
QUESTION = "What colour has the fox?"


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def bpe(family):
    return TokenizerWrapper(bpe_tokenizer(TEMPLATES[family]))


@pytest.fixture(scope="module")
def ends(family):
    chat = TEMPLATES[family]
    return frozenset(chat.id(token) for token in chat.ends)


def test_the_prompt_is_the_templates_and_has_one_beginning(family, bpe):
    ids = encode_prompt(bpe, QUESTION)
    assert bpe.decode(ids) == PROMPTS[family].format(QUESTION)
    plain = {"add_generation_prompt": True, "enable_thinking": False}
    assert list(ids) == bpe.apply_chat_template([{"role": "user", "content": QUESTION}], **plain)
    bos = TEMPLATES[family].bos
    assert bos is None or ids.count(bpe.bos_token_id) == 1


def test_control_tokens_are_the_familys_own(family, bpe):
    # Qwen 3's template writes its thought marks, which are added tokens, but not flagged special.
    marks = {"<think>", "</think>"} if family == "qwen3" else set()
    assert set(control_tokens(bpe)) == {*TEMPLATES[family].special, *marks}


def test_a_tokenizer_that_begins_every_text_begins_no_turn_twice(family):
    chat = TEMPLATES[family]
    first = chat.bos or chat.pad  # Qwen has none: its tokenizer would begin with any token here
    beginning = bpe_tokenizer(chat)
    beginning.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, chat.id(first))]
    )
    assert beginning.encode("fox")[0] == chat.id(first)
    wrapped, plain = TokenizerWrapper(beginning), TokenizerWrapper(bpe_tokenizer(chat))
    ends = frozenset(chat.id(token) for token in chat.ends)
    for answer in ("The fox is red.", "\nThe fox"):
        assert encode_turn(wrapped, QUESTION, answer, ends) == encode_turn(plain, QUESTION, answer, ends)


def test_the_answer_stands_right_behind_the_prompt_and_ends_with_the_turn(family, bpe, ends):
    turn = encode_turn(bpe, QUESTION, "The fox is red.", ends)
    assert turn.prompt == encode_prompt(bpe, QUESTION)
    text = ANSWERS[family]("The fox is red.")
    assert bpe.decode(turn.response) == text + ENDS[family]
    assert turn.response[-1] == TEMPLATES[family].id(ENDS[family])
    assert not ends & set(turn.response[:-1])
    assert decode_response(bpe, list(turn.response), ends) == "The fox is red."
    # The template's own ids of the whole turn, up to the end of the answer.
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "The fox is red."}]
    assert list(turn.ids) == bpe.apply_chat_template(turns, enable_thinking=False)[: len(turn)]


def test_one_token_a_word(family, ends):
    tokenizer = TokenizerWrapper(word_tokenizer(TEMPLATES[family]))
    turn = encode_turn(tokenizer, "w0 w1", "w2 w3", ends)
    first = tokenizer.convert_tokens_to_ids("w0")
    assert turn.response == (first + 2, first + 3, TEMPLATES[family].id(ENDS[family]))
    assert turn.prompt == encode_prompt(tokenizer, "w0 w1")
    assert decode_response(tokenizer, list(turn.response), ends) == "w2 w3"


def test_turn_end(family, bpe):
    end = TEMPLATES[family].id(ENDS[family])
    assert turn_end(bpe) == end
    assert turn_end(TokenizerWrapper(word_tokenizer(TEMPLATES[family]))) == end


@pytest.mark.parametrize("begin", ["\n", "\n\n", "\n\n\n", " ", "  ", "\t", " \n", "-", "\u00a0", "é"])
def test_an_answer_never_changes_the_ids_of_its_prompt(family, bpe, ends, begin):
    answer = begin + "The fox"
    turn = encode_turn(bpe, QUESTION, answer, ends)
    assert turn.prompt == encode_prompt(bpe, QUESTION)
    assert bpe.decode(turn.ids) == PROMPTS[family].format(QUESTION) + ANSWERS[family](answer) + ENDS[family]


@pytest.mark.parametrize("family", ["qwen2"], indirect=True)
def test_a_line_break_that_melts_into_the_prompt_is_encoded_apart(bpe, ends):
    # "assistant\n" and "\nThe" share the token "\n\n" where they are one text: the case that this is about.
    turn = encode_turn(bpe, QUESTION, "\nThe fox", ends)
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "\nThe fox"}]
    whole = bpe.apply_chat_template(turns)
    assert tuple(whole[: len(turn.prompt)]) != turn.prompt
    assert bpe.decode(turn.response) == "\nThe fox<|im_end|>"


def test_random_answers(family, bpe, ends):
    draw = random.Random(0)
    for _ in range(200):
        answer = "".join(draw.choices(["a", "fox", " ", "\n", ".", "The", "1", "é", "user"], k=draw.randint(1, 8)))
        turn = encode_turn(bpe, QUESTION, answer, ends)
        assert turn.prompt == encode_prompt(bpe, QUESTION)
        assert bpe.decode(turn.response) == ANSWERS[family](answer) + ENDS[family]
        assert decode_response(bpe, list(turn.response), ends) == answer.strip()


@pytest.mark.parametrize("family", ["qwen3"], indirect=True)
@pytest.mark.parametrize("answer", ["<think>why</think>red", "a </think> b"])
def test_an_answer_that_the_template_would_read_is_put_in_its_place(bpe, ends, answer):
    # Qwen 3's template takes all before "</think>" for a thought and would write it into the prompt.
    turn = encode_turn(bpe, QUESTION, answer, ends)
    assert turn.prompt == encode_prompt(bpe, QUESTION)
    assert bpe.decode(turn.response) == answer + "<|im_end|>"


@pytest.mark.parametrize("family", ["qwen3"], indirect=True)
def test_an_answer_of_which_the_template_leaves_nothing_is_its_end(bpe, ends):
    assert encode_turn(bpe, QUESTION, "</think>", ends).response == (TEMPLATES["qwen3"].id("<|im_end|>"),)


def test_a_tokenizer_that_puts_a_blank_before_a_text():
    # "\n\n" is one token, and a text encoded alone begins with "▁": the answer's first line break must not get one.
    pieces = ["<unk>", "<end>", "▁", "▁q", "\n", "\n\n", "a", "▁a", "q"]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [("▁", "q"), ("\n", "\n"), ("▁", "a")]))
    tokenizer.model.unk_token = "<unk>"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    wrapped = TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template))
    turn = encode_turn(wrapped, "q", "\na", frozenset({1}))
    assert turn == Tokens((3, 4), (4, 6, 4, 1))  # by hand: ▁q ⏎ | ⏎ a ⏎, and the end that the template lacks


def test_decoding_leaves_blanks_before_punctuation(family, ends):
    tokenizer = word_tokenizer(TEMPLATES[family], words=("red", "brown", ",", "."))
    tokenizer.clean_up_tokenization_spaces = True  # as Llama 3's tokenizer is set; transformers heeds it for words
    turn = encode_turn(TokenizerWrapper(tokenizer), QUESTION, "red , brown .", ends)
    assert decode_response(tokenizer, list(turn.response), ends) == "red , brown ."
