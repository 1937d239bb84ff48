"""A reply of the endpoint: read strictly from the body of a chat completion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from align_contracts.secrets import masked

CUT = "cut off at the longest reply"
REFUSED = "refused"


class MalformedReplyError(Exception):
    """The endpoint answered 200 with something that is no chat completion."""


@dataclass(frozen=True)
class Reply:
    """A reply as it came.

    Attributes:
        text: The model's text; None for a refusal or a filtered reply.
        problem: Why there is no text, or no whole one.
        tokens_read: Tokens billed for reading; None if the endpoint did not say.
        tokens_written: Tokens billed for writing.
    """

    text: str | None
    problem: str | None = None
    tokens_read: int | None = None
    tokens_written: int | None = None

    @property
    def whole(self) -> str | None:
        """The text, if it is whole: what a cut one would have said is not known."""
        return None if self.problem else self.text


def read_completion(body: bytes) -> Reply:
    """Read a chat completion.

    Not with the SDK's classes: they take a body of any shape for a completion, and the error shows up later.

    Args:
        body: What came with status 200.

    Returns:
        The first choice's text and what is billed for it; a key that the endpoint repeats is masked.

    Raises:
        MalformedReplyError: It is no JSON, or no completion with a choice, a message and a text or a refusal.
    """
    try:
        found = json.loads(body)
        choice = found["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise MalformedReplyError from None
    if not isinstance(text, str | None) or not isinstance(refusal, str | None):
        raise MalformedReplyError
    read, written = _tokens(found.get("usage"))
    if refusal or text is None:
        return Reply(None, f"{REFUSED}: {_storable(refusal or str(finish))}", read, written)
    return Reply(_storable(text), CUT if finish == "length" else None, read, written)


def _tokens(usage: Any) -> tuple[int | None, int | None]:
    """Tokens read and written; None where the endpoint does not say, or says what cannot be."""
    named = usage if isinstance(usage, dict) else {}
    read, written = named.get("prompt_tokens"), named.get("completion_tokens")
    return tuple(n if type(n) is int and 0 <= n < 2**53 else None for n in (read, written))  # type: ignore[return-value]


def _storable(text: str) -> str:
    """Text that SQLite takes (no half of a surrogate pair), with keys masked."""
    return masked(text.encode("utf-8", "replace").decode("utf-8"))
