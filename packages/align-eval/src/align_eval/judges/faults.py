"""What a failed call means: try again, count as an invalid reply, or stop."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import openai

from align_contracts.errors import AlignError, ConfigError, IncompleteError

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause ends the run instead; the kept replies make the next one short."""

_CONTENT_CODES = {"content_filter", "content_policy_violation", "context_length_exceeded"}


class MalformedReplyError(Exception):
    """The endpoint answered 200 with something that is no chat completion."""


@dataclass(frozen=True)
class Fault:
    """What to do about a failed call.

    Attributes:
        action: `retry`, `invalid` (this pair cannot be judged), `refused` (the endpoint does not take such requests) or
            `stop` (it takes none).
        reason: What happened, without secrets.
        billed: Whether the call may have been paid for all the same.
        wait_s: Pause that the server asked for.
        error: The error to end with, for `refused` and `stop`.
    """

    action: Literal["retry", "invalid", "refused", "stop"]
    reason: str
    billed: bool = False
    wait_s: float | None = None
    error: AlignError | None = None


def classify(error: Exception, secret: str) -> Fault:
    """Sort a failure.

    Args:
        error: What the call raised.
        secret: The API key; it is cut out of everything that is passed on.

    Returns:
        What to do.
    """
    if isinstance(error, openai.APIStatusError):
        return _status(error, secret)
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return Fault("retry", "timed out", billed=True)
    if isinstance(error, (json.JSONDecodeError, openai.APIResponseValidationError, MalformedReplyError)):
        return Fault("retry", "a reply that is no chat completion", billed=True)
    if isinstance(error, openai.APIConnectionError):
        return Fault("retry", "connection lost or refused", billed=True)
    raise error


def _status(error: openai.APIStatusError, secret: str) -> Fault:
    status, code = error.status_code, error.code or error.type or ""
    said = error.message.replace(secret, "***")[:300] if secret else error.message[:300]
    if status in (401, 403):
        # Nothing of the server's text: it may quote the key.
        return _stop(ConfigError(f"the judge endpoint refused the key ({status})", do="Check OPENAI_API_KEY"))
    if code == "insufficient_quota":
        what = "the judge account has no credit left"
        return _stop(IncompleteError(what, do="Run again later: the replies so far are kept"))
    if status in (408, 409, 429) or (status >= 500 and status != 501):
        wait = seconds_to_wait(error.response.headers.get("retry-after", ""), datetime.now(UTC))
        if wait is not None and wait > LONGEST_WAIT_S:
            what = f"the judge endpoint asks for a pause of {wait:.0f} s ({status})"
            return _stop(IncompleteError(what, do="Run again after it: the replies so far are kept"))
        return Fault("retry", f"status {status}", wait_s=wait)
    if code in _CONTENT_CODES:
        return Fault("invalid", code)
    hint = "Check --base-url and the model's name; an endpoint without JSON schemas needs --reply-form label"
    refusal = ConfigError(f"the judge endpoint refused the request ({status})", got=said or None, do=hint)
    return Fault("stop" if status == 404 else "refused", refusal.what, error=refusal)


def _stop(error: AlignError) -> Fault:
    return Fault("stop", error.what, error=error)


def seconds_to_wait(said: str, now: datetime) -> float | None:
    """Read a Retry-After header: a number of seconds, or a date (RFC 9110, 10.2.3).

    Args:
        said: The header; "" if there is none.
        now: The present, with its zone.

    Returns:
        Seconds, at least 0; None where the header says nothing of use.
    """
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = max(0.0, (parsedate_to_datetime(said) - now).total_seconds())
        except (ValueError, TypeError):  # no date, or one without a zone
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
