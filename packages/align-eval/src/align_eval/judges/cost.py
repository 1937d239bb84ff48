"""What asking costs: prices, an estimate before the first call, a bound for each call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHARACTERS_A_TOKEN = 4
"""Usual for English; good for an estimate, not for a bound."""

MESSAGE_TOKENS = 64
"""Room for the tokens that frame a message and its reply format."""


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    read: float
    written: float

    def of(self, tokens_read: int, tokens_written: int) -> float:
        """Cost in USD of one call."""
        return (tokens_read * self.read + tokens_written * self.written) / 1e6


LIST_PRICES = {"gpt-4o-mini": Price(0.15, 0.60)}
"""Prices known without asking the user; any other model's are given as flags."""


def price_of(model: str, read: float | None, written: float | None, *, is_openai: bool) -> Price | None:
    """Return the price to reckon with.

    Args:
        model: The model's name.
        read: The user's price of input tokens, USD per million.
        written: The user's price of output tokens.
        is_openai: Whether the list prices apply at this endpoint.

    Returns:
        The user's price, completed by the list price; None when a part is unknown.
    """
    known = LIST_PRICES.get(model) if is_openai else None
    read = known.read if read is None and known else read
    written = known.written if written is None and known else written
    return None if read is None or written is None else Price(read, written)


def likely_tokens(text: str) -> int:
    """Tokens of a text, roughly."""
    return len(text) // CHARACTERS_A_TOKEN + MESSAGE_TOKENS


def most_tokens(body: Mapping[str, Any]) -> int:
    """Bound on the tokens read in one call, message and schema: no more than bytes, as byte-level tokenizers make."""
    return len(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")) + MESSAGE_TOKENS


@dataclass(frozen=True)
class Estimate:
    """What is about to be asked.

    Attributes:
        questions: Calls to make.
        tokens_read: Likely tokens read.
        tokens_written: Likely tokens written.
        usd: Likely cost; None when the price is unknown.
    """

    questions: int
    tokens_read: int
    tokens_written: int
    usd: float | None

    def __str__(self) -> str:
        cost = "price unknown" if self.usd is None else f"about {self.usd:.4f} USD"
        return f"about {self.tokens_read} tokens to read and {self.tokens_written} to write, {cost}"


def estimate(texts: Sequence[str], reply_tokens: int, price: Price | None) -> Estimate:
    """Estimate the cost of asking each text once, with replies a third as long as allowed."""
    read = sum(likely_tokens(text) for text in texts)
    written = len(texts) * max(1, reply_tokens // 3)
    return Estimate(len(texts), read, written, price.of(read, written) if price else None)
