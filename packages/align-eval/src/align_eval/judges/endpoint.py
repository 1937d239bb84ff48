"""Where an API judge answers, the key that it needs, and a client that sends the key nowhere else."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai

from align_contracts.errors import ConfigError
from align_eval.config import OPENAI_URL
from align_eval.judges.address import is_loopback

KEY_VARIABLE = "OPENAI_API_KEY"
NO_KEY = "none"
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*")


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

    def client(self, timeout_s: float) -> openai.AsyncOpenAI:
        """A client without retries of its own (they would be neither counted nor booked).

        It follows no redirect, for the key and the answers would follow, and on this machine it asks no proxy, which
        would read the key in clear text.
        """
        transport = openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not is_loopback(self.url))
        return openai.AsyncOpenAI(
            api_key=self.key, base_url=self.url, max_retries=0, timeout=timeout_s, http_client=transport
        )


def endpoint(url: str) -> Endpoint:
    """Take the key for an address from the environment.

    Args:
        url: A base URL, checked.

    Returns:
        The endpoint.

    Raises:
        ConfigError: The key is missing, is none, or would travel in clear text.

    Source:
        RFC 6750, section 2.1: the characters of a bearer token.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key and url == OPENAI_URL:
        raise ConfigError(f"{KEY_VARIABLE} is not set", do="Export it, or name another endpoint with --base-url")
    if key and not _BEARER.fullmatch(key):
        raise ConfigError(f"{KEY_VARIABLE} holds what no key holds", expected="ASCII letters, digits and . _ ~ + / - =")
    if key and url.startswith("http:") and not is_loopback(url):
        raise ConfigError(
            f"--base-url: http to {urlsplit(url).hostname} would send the key in clear text",
            do=f"Use https, or unset {KEY_VARIABLE} if that endpoint needs none",
        )
    return Endpoint(url, key or NO_KEY)
