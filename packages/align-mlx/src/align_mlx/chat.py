"""From prompts and answers to token ids, exactly once: what is sampled is what is scored and trained on.

The ids are those that the model's own chat template gives, special tokens included; nothing is added to them, and a
system turn that a template writes by itself (Qwen 2.5) stays. The answer is what stands behind the generation prompt,
up to and including the token that ends it. Templates that know thinking are asked for none
(``enable_thinking=False``): the study compares short direct answers. The generation prompt of Qwen 3 then ends behind
an empty thought, and so does the prompt of a written answer.

Tokenizers match control tokens in any text: an answer that *writes about* ``<eos>`` would end there, and a prompt could
open a turn of its own. Stages leave such rows out and count them (`control_tokens`, `has_control_tokens`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from align_contracts.errors import ConfigError

SLOT = "ANSWER"
"""An answer that no template has a reason to treat specially."""
ANCHORS = ("", "x", ".")
"""Texts before which a text is encoded that is not the beginning: some tokenizers put a blank before the first word."""


@dataclass(frozen=True)
class Tokens:
    """One conversation turn in ids: the templated prompt, and the answer up to and including its end token."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and response, joined."""
        return self.prompt + self.response

    @property
    def empty(self) -> bool:
        """Whether the answer is nothing but its end token."""
        return len(self.response) <= 1

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encode_prompt(tokenizer: Any, prompt: str) -> tuple[int, ...]:
    """Give the ids of a user prompt under the chat template, ending where the model's answer begins."""
    return _encode(tokenizer, _templated(tokenizer, prompt))


def encode_turn(tokenizer: Any, prompt: str, response: str, end_tokens: frozenset[int]) -> Tokens:
    """Give the ids of a prompt and a written answer; the answer ends with its first end token.

    They are the template's ids, but where the tokenizer melts the first letters of the answer into one token with the
    end of the prompt (a line break into ``\\n\\n``): a policy continues the prompt that it was given, so what it would
    have to write is encoded apart.

    Args:
        tokenizer: mlx-lm tokenizer wrapper with a chat template.
        prompt: the user's text.
        response: the answer's text.
        end_tokens: ids that end a response.

    Raises:
        ConfigError: the template does not continue its own generation prompt, so no completion mask is exact.
    """
    asked = _templated(tokenizer, prompt)
    start = _encode(tokenizer, asked)
    said = _behind(tokenizer, asked, prompt, response)
    full = _encode(tokenizer, asked + said)
    answer = full[len(start) :] if full[: len(start)] == start else _continue(tokenizer, start, said, full)
    end = next((i for i, token in enumerate(answer) if token in end_tokens), None)
    if end is None:
        eos = tokenizer.eos_token_id
        answer, end = (*answer, eos if eos in end_tokens else min(end_tokens)), len(answer)
    return Tokens(start, answer[: end + 1])


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Give the texts that the tokenizer turns into control tokens wherever they stand.

    They are the tokens flagged special, and the added tokens that the chat template writes (Qwen 3's ``<think>`` is not
    flagged). Blanks and words of the template (a line break, ``user``) are text like any other, though a vocabulary may
    have added them.
    """
    template = _templated(tokenizer, "QUESTION", SLOT) + _templated(tokenizer, "QUESTION")
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.content.strip()]
    return tuple(str(t.content) for t in added if t.special or (t.content in template and _is_mark(t.content)))


def has_control_tokens(control: Sequence[str], *texts: str) -> bool:
    """Say whether the text of a control token (see `control_tokens`) stands in any of the texts."""
    return any(token in text for token in control for text in texts)


def turn_end(tokenizer: Any) -> int | None:
    """Give the token with which the chat template ends an answer (Gemma's ``<end_of_turn>``); None if it has none.

    A model's config need not list it among the tokens that end a text: Gemma 1 lists ``<eos>`` alone. Space before it
    is part of the answer: a newline is a token of its own in Gemma's vocabulary, but ends nothing.
    """
    behind = _templated(tokenizer, "QUESTION", SLOT).rpartition(SLOT)[2].lstrip()
    first = _encode(tokenizer, behind)[:1]
    return next((token for token in first if token in tokenizer.added_tokens_decoder), None)


def decode_response(tokenizer: Any, ids: list[int], end_tokens: frozenset[int]) -> str:
    """Give the text of sampled response ids without the end token and surrounding space."""
    if ids and ids[-1] in end_tokens:
        ids = ids[:-1]
    return _decode(tokenizer, ids).strip()


def _templated(tokenizer: Any, prompt: str, response: str | None = None) -> str:
    """Give the text of a turn under the chat template; without a response, up to where the answer begins."""
    turns = [{"role": "user", "content": prompt}]
    if response is not None:
        turns.append({"role": "assistant", "content": response})
    waiting = response is None
    return str(
        tokenizer.apply_chat_template(turns, add_generation_prompt=waiting, tokenize=False, enable_thinking=False)
    )


def _is_mark(text: str) -> bool:
    """Whether a text holds anything but letters, digits and blanks."""
    return not all(c.isalnum() or c.isspace() for c in text)


def _encode(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Give the ids of a templated text: its special tokens are in it, so none are added."""
    return tuple(map(int, tokenizer.encode(text, add_special_tokens=False)))


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Give the text of ids as it is: some tokenizers would tidy up the blanks before punctuation."""
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def _behind(tokenizer: Any, asked: str, prompt: str, response: str) -> str:
    """Give the text that the template puts behind the prompt `asked`: the answer, and what ends it.

    A template may read the answer (Qwen 3 looks for ``</think>`` in it) and rewrite what stands before. Then the answer
    is put, as it is, where the template puts one that it has no reason to read.
    """
    full = _templated(tokenizer, prompt, response)
    if full.startswith(asked):
        return full[len(asked) :]
    full = _templated(tokenizer, prompt, SLOT)
    if not full.startswith(asked):
        raise ConfigError(
            "the chat template rewrites the prompt when an answer follows",
            expected="the answer's text right after the generation prompt",
            do="use a template whose generation prompt is a prefix of the whole turn",
        )
    return full[len(asked) :].replace(SLOT, response.strip(), 1)


def _continue(tokenizer: Any, start: tuple[int, ...], said: str, full: tuple[int, ...]) -> tuple[int, ...]:
    """Encode a text apart from what it follows, so that both together decode to what they would as one text."""
    whole = _decode(tokenizer, full)
    for anchor in ANCHORS:
        before, ids = _encode(tokenizer, anchor), _encode(tokenizer, anchor + said)
        answer = ids[len(before) :]
        if ids[: len(before)] == before and _decode(tokenizer, start + answer) == whole:
            return answer
    raise ConfigError(
        "the tokenizer cannot continue a prompt",
        expected="ids that decode to the answer's text",
        got=repr(said[:40]),
        do="remove the row",
    )
