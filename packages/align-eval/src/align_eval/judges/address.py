"""The address of an API judge, checked before it is recorded."""

from __future__ import annotations

from urllib.parse import urlsplit

from align_contracts.errors import ConfigError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def checked_url(url: str) -> str:
    """Check a base URL.

    Args:
        url: http or https, without user, password, query or fragment.

    Returns:
        The same URL.

    Raises:
        ConfigError: The URL is unusable, or has a place that may hold a secret; the message does not show it.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- reading it checks it
    except ValueError as error:
        raise ConfigError("no usable address", expected="http://HOST:PORT/…", got=error) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("no usable address", expected="http://… or https://…", got=repr(parts.scheme + "://…"))
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            "a user, password or query may be a secret and would be recorded",
            do="Give a bare address, and the key in OPENAI_API_KEY",
        )
    return url


def is_loopback(url: str) -> bool:
    """Whether an address is this machine's own."""
    return urlsplit(url).hostname in _LOOPBACK
