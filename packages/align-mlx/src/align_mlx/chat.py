"""From prompts and answers to token ids, exactly once: what is sampled is what is scored and trained on."""

from dataclasses import dataclass
from typing import Any

from align_contracts.errors import ConfigError


@dataclass(frozen=True)
class Tokens:
    """One conversation turn in ids: the templated prompt, and the answer up to and including its end token."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and response, joined."""
        return self.prompt + self.response

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)


def encode_prompt(tokenizer: Any, prompt: str) -> tuple[int, ...]:
    """Give the ids of a user prompt under the chat template, ending where the model's answer begins."""
    return tuple(_template(tokenizer, [{"role": "user", "content": prompt}], True))


def encode_turn(tokenizer: Any, prompt: str, response: str, end_tokens: frozenset[int]) -> Tokens:
    """Give the ids of a prompt and a written answer; the answer ends with its first end token.

    Args:
        tokenizer: mlx-lm tokenizer wrapper with a chat template.
        prompt: the user's text.
        response: the answer's text.
        end_tokens: ids that end a response.

    Raises:
        ConfigError: the template does not continue its own generation prompt, so no completion mask is exact.
    """
    start = encode_prompt(tokenizer, prompt)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    full = tuple(_template(tokenizer, turns, False))
    if full[: len(start)] != start:
        raise ConfigError(
            "the chat template rewrites the prompt when an answer follows",
            expected="the answer's ids right after the generation prompt",
            do="use a template whose generation prompt is a prefix of the whole turn",
        )
    answer = full[len(start) :]
    end = next((i for i, token in enumerate(answer) if token in end_tokens), None)
    if end is None:
        answer, end = (*answer, min(end_tokens)), len(answer)
    return Tokens(start, answer[: end + 1])


def turn_end(tokenizer: Any) -> int | None:
    """Give the token with which the chat template ends an answer (Gemma's ``<end_of_turn>``); None if it has none.

    A model's config need not list it among the tokens that end a text: Gemma 1 lists ``<eos>`` alone. Space before it
    is part of the answer: a newline is a token of its own in Gemma's vocabulary, but ends nothing.
    """
    answer = "ANSWER"
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": answer}]
    text = str(tokenizer.apply_chat_template(turns, add_generation_prompt=False, tokenize=False))
    behind = tokenizer.encode(text.rpartition(answer)[2].lstrip(), add_special_tokens=False)
    return next((int(token) for token in behind[:1] if token in tokenizer.added_tokens_decoder), None)


def decode_response(tokenizer: Any, ids: list[int], end_tokens: frozenset[int]) -> str:
    """Give the text of sampled response ids without the end token and surrounding space."""
    if ids and ids[-1] in end_tokens:
        ids = ids[:-1]
    return str(tokenizer.decode(ids)).strip()


def _template(tokenizer: Any, messages: list[dict[str, str]], generation: bool) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=generation, tokenize=True))
