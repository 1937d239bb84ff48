"""Keys in text: found, and masked before anything is printed or recorded."""

from __future__ import annotations

import functools
import logging
import os
import re
from typing import Any
from urllib.parse import quote

VARIABLES = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Environment variables that hold the keys which a stage may use."""

MASK = "***"

_SHORTEST_MASKED = 6
"""A filler such as "none" or "EMPTY" is no secret, and masking it would garble plain words."""
_SHORTEST_REFUSED = 16
"""Fillers such as "not-needed" may well stand in a path; keys are longer."""
_KEY = re.compile(r"\b(?:sk-[A-Za-z0-9_-]{12,}|hf_[A-Za-z0-9]{16,})")
_LOGIN = re.compile(r"(?<=://)[^/\s@'\"]+@")


def masked(text: str) -> str:
    """Return a text with every key in it replaced by ***.

    Args:
        text: Anything that is about to be shown or stored.

    Returns:
        The text without the values of `VARIABLES` (plain or percent-encoded), without what has the form of a key of
        OpenAI or of the hub, and without user and password of URLs.
    """
    for value in _values(_SHORTEST_MASKED):
        text = text.replace(value, MASK).replace(quote(value, safe=""), MASK)
    return _LOGIN.sub(f"{MASK}@", _KEY.sub(MASK, text))


def holds_key(text: str) -> bool:
    """Whether a text holds the value of one of `VARIABLES`, or something of the form of a key."""
    return bool(_KEY.search(text)) or any(value in text for value in _values(_SHORTEST_REFUSED))


@functools.cache
def mask_logs() -> None:
    """Mask keys in all that this process logs from now on: libraries asked to be talkative log what servers say."""
    make = logging.getLogRecordFactory()

    def make_masked(*given: Any, **named: Any) -> logging.LogRecord:
        record = make(*given, **named)
        record.msg, record.args = masked(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = masked(logging.Formatter().formatException(record.exc_info))
        return record

    logging.setLogRecordFactory(make_masked)


def _values(shortest: int) -> list[str]:
    found = (os.environ.get(name, "").strip() for name in VARIABLES)
    return sorted((value for value in found if len(value) >= shortest), key=len, reverse=True)
