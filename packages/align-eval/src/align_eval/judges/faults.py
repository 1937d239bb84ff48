"""What a failed call means: try again, count as an invalid reply, or stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import openai

from align_contracts.errors import AlignError, ConfigError, IncompleteError
from align_contracts.paths import printable
from align_contracts.secrets import masked
from align_eval.judges.reply import MalformedReplyError

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause ends the run instead; the kept replies make the next one short."""

_CONTENT_CODES = {"content_filter", "content_policy_violation", "context_length_exceeded", "string_above_max_length"}
_NO_CREDIT_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}


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


def classify(error: Exception) -> Fault:
    """Sort a failure.

    Args:
        error: What the call raised.

    Returns:
        What to do; nothing in it holds a key, and nothing of the server's text could steer a terminal.
    """
    if isinstance(error, openai.APIStatusError):
        return _status(error)
    if isinstance(error, (openai.APITimeoutError, TimeoutError)):
        return Fault("retry", "timed out", billed=True)
    if isinstance(error, (ValueError, openai.APIResponseValidationError, MalformedReplyError)):
        return Fault("retry", "a reply that is no chat completion", billed=True)
    if isinstance(error, openai.APIConnectionError):
        return Fault("retry", "connection lost or refused", billed=True)
    raise error


def _status(error: openai.APIStatusError) -> Fault:
    status = error.status_code
    codes = {code for code in (error.code, error.type) if isinstance(code, str)}  # faulty ones are of any shape
    passing = status in (408, 409, 429) or (status >= 500 and status != 501)
    if passing and not codes & _NO_CREDIT_CODES:
        return _try_again(error)
    if status == 413 or codes & _CONTENT_CODES:
        return Fault("invalid", min(codes & _CONTENT_CODES, default="status 413"))
    refusal = _refusal(error, codes)
    takes_none = status < 400 or status in (401, 402, 403, 404) or codes & _NO_CREDIT_CODES
    return Fault("stop" if takes_none else "refused", refusal.what, error=refusal)


def _try_again(error: openai.APIStatusError) -> Fault:
    status = error.status_code
    wait = seconds_to_wait(error.response.headers.get("retry-after", ""), datetime.now(UTC))
    if wait is not None and wait > LONGEST_WAIT_S:
        what = f"the judge endpoint asks for a pause of {wait:.0f} s ({status})"
        stop = IncompleteError(what, do="Run again after it: the replies so far are kept")
        return Fault("stop", what, error=stop)
    # A gateway's 502 or 504 says nothing of the model behind it, which may have answered and billed.
    return Fault("retry", f"status {status}", billed=status == 408 or status >= 500, wait_s=wait)


def _refusal(error: openai.APIStatusError, codes: set[str]) -> AlignError:
    status = error.status_code
    if status in (401, 403):
        # Nothing of the server's text: it may quote a part of the key.
        return ConfigError(f"the judge endpoint refused the key ({status})", do="Check OPENAI_API_KEY")
    if status == 402 or codes & _NO_CREDIT_CODES:
        what = "the judge account has no credit left"
        return IncompleteError(what, do="Run again later: the replies so far are kept")
    if status < 400:
        # Not followed: the key and the answers would go where the user did not send them.
        do = "Give the address that it moved to, if you trust it"
        return ConfigError(f"--base-url: the judge endpoint sends elsewhere ({status})", do=do)
    hint = "Check --base-url and the model's name; an endpoint without JSON schemas needs --reply-form label"
    said = printable(masked(error.message))[:300]
    return ConfigError(f"the judge endpoint refused the request ({status})", got=said or None, do=hint)


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
        except (ValueError, TypeError, OverflowError):  # no date, one without a zone, or one that no calendar has
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
