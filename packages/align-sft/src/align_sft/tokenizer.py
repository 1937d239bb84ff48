"""The embedded tokenizer: whole words where the corpus has them, characters for the rest, Gemma's turn tokens.

Every word carries the blank before it (``▁fox``), also at the start of a text or a line, so a word is one token
wherever it stands. Words outside the vocabulary are spelled in smaller pieces, down to single characters; a character
that the corpus and ASCII do not have becomes ``<unk>``.
"""

import string
from collections.abc import Iterable
from itertools import chain

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
"""Special tokens; the position is the id. Gemma has the first four at the same ids."""

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] not in ('user', 'assistant') -%}
{{- raise_exception('only user and assistant turns') -}}
{%- endif -%}
{{- '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' -}}
{{- message['content'] | trim -}}
{{- '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<start_of_turn>model\\n' -}}
{%- endif -%}
"""
"""Turns in Gemma's format: ``<start_of_turn>user`` or ``model``, a line break, the text, ``<end_of_turn>``."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a BPE vocabulary (Sennrich et al., arXiv 1508.07909) and give a tokenizer with a chat template.

    Args:
        texts: lines of text.
        vocab_size: most tokens, special ones included.

    Returns:
        A tokenizer that does not add ``<bos>`` by itself; the chat template does.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(r"[^\w▁]|\d"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.Fuse(),
            decoders.Replace("\n ", "\n"),
            decoders.Replace("<start_of_turn> ", "<start_of_turn>"),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=list(SPECIAL),
        initial_alphabet=[*string.ascii_letters, *string.digits, *string.punctuation, "▁"],
        show_progress=False,
    )
    names = "user model " * 1000  # the template's own words get a token each
    tokenizer.train_from_iterator(chain(texts, [names]), trainer)
    # A line break splits the text before words are formed, so the word behind it is spelled as any other.
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        extra_special_tokens=["<start_of_turn>", "<end_of_turn>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def document_ids(tokenizer: PreTrainedTokenizerFast, text: str, max_length: int) -> list[int]:
    """Give the ids of a text of the corpus, at most `max_length` of them.

    A dialogue (a prompt, a line break, an answer) is put in the chat template and ends with its end token; anything
    else stands between ``<bos>`` and ``<eos>``.
    """
    prompt, _, response = text.partition("\n")
    if response:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(turns, return_dict=False)
        return list(ids)[: min(max_length, len(ids) - 1)]  # without the line break behind the end token
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id][:max_length]
