import pytest

from tiny.rows import turns
from tiny.templates import QWEN3, TEMPLATES
from tiny.tokenizer import SENTENCES, bpe_tokenizer, fill_words, word_tokenizer

# What the model families write for the question Q and its answer A, and for the question alone.
GIVEN = {
    "gemma": ("<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n", "A<end_of_turn>\n"),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nQ<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "A<|eot_id|>",
    ),
    "qwen2": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n",
        "A<|im_end|>\n",
    ),
    "qwen3": ("<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n\nA<|im_end|>\n"),
    "mistral": ("<s>[INST] Q[/INST]", " A</s>"),
}
TOKENIZERS = [word_tokenizer, bpe_tokenizer]


@pytest.mark.parametrize("name", TEMPLATES)
def test_one_question_and_its_answer(name):
    tokenizer = word_tokenizer(TEMPLATES[name])
    prompt, answer = GIVEN[name]
    conversation = turns("Q", "A")
    assert tokenizer.apply_chat_template(conversation[:1], add_generation_prompt=True, tokenize=False) == prompt
    assert tokenizer.apply_chat_template(conversation, tokenize=False) == prompt + answer


def test_qwen3_thinks_in_the_last_answer_only_and_the_switch_ends_the_thought_at_once():
    tokenizer = word_tokenizer(QWEN3)
    text = tokenizer.apply_chat_template([*turns("Q", "A"), *turns("R", "<think>\nT\n</think>\n\nB")], tokenize=False)
    assert text == (
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n<think>\nT\n</think>\n\nB<|im_end|>\n"
    )
    asked = {"add_generation_prompt": True, "tokenize": False}
    prompt = GIVEN["qwen3"][0]
    assert tokenizer.apply_chat_template(turns("Q", "")[:1], **asked, enable_thinking=True) == prompt
    silent = tokenizer.apply_chat_template(turns("Q", "")[:1], **asked, enable_thinking=False)
    assert silent == prompt + "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("make", TOKENIZERS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_special_tokens_have_the_ids_of_their_positions(name, make):
    chat = TEMPLATES[name]
    tokenizer = make(chat)
    assert tokenizer.convert_tokens_to_ids(list(chat.special)) == list(range(len(chat.special)))
    ids = tokenizer.apply_chat_template(turns("w0", "w1"), tokenize=True)["input_ids"]
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("name", TEMPLATES)
def test_word_tokenizers_have_64_tokens(name):
    tokenizer = word_tokenizer(TEMPLATES[name])
    words = fill_words(chat=TEMPLATES[name])
    assert (len(tokenizer), tokenizer.convert_tokens_to_ids(words[-1])) == (64, 63)


def test_bpe_gives_every_text_back_and_melts_line_breaks_across_a_boundary():
    tokenizer = bpe_tokenizer(QWEN3)
    for text in (*SENTENCES, "  two blanks, 東京 and 🦊\n\n\n\tend "):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    # The generation prompt ends with a line break; before an answer that begins with one, both are a single token.
    alone, joined = tokenizer.encode("<|im_start|>assistant\n"), tokenizer.encode("<|im_start|>assistant\n\nfox")
    assert joined[: len(alone)] != alone
