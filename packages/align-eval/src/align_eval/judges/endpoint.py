"""Where an API judge answers, and the key that it needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from align_contracts.errors import ConfigError
from align_eval.config import OPENAI_URL

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Endpoint:
    """Where the judge answers.

    Attributes:
        url: Base URL.
        key: The API key from the environment, or a filler where none is needed; never printed or stored.
    """

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


def endpoint(url: str) -> Endpoint:
    """Check a base URL and take the key from the environment.

    Args:
        url: http or https, without user, password or query.

    Returns:
        The endpoint.

    Raises:
        ConfigError: The URL is unusable or holds a secret; the key is missing, cannot be sent, or would travel in clear
            text.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- reading it checks it
    except ValueError as error:
        raise ConfigError("--base-url", expected="http://HOST:PORT/…", got=error) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--base-url", expected="http://… or https://…", got=repr(parts.scheme + "://…"))
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "--base-url: a user, password or query may be a secret and would be stored",
            do=f"Give a bare URL, and the key in {KEY_VARIABLE}",
        )
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError(f"{KEY_VARIABLE} is not set", do="Export it, or name another endpoint with --base-url")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{KEY_VARIABLE} holds what no key holds", expected="ASCII letters, digits and signs")
    if key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"--base-url: http to {parts.hostname} would send the key in clear text",
            do=f"Use https, or unset {KEY_VARIABLE} if that endpoint needs none",
        )
    return Endpoint(url, key or NO_KEY)
