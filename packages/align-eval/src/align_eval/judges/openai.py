"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import openai

from align_contracts.canonical import digest
from align_contracts.errors import BudgetError, ConfigError
from align_eval.config import OPENAI_URL, JudgeConfig
from align_eval.judges.asking import Asker, Request
from align_eval.judges.base import JudgeFacts, Opinion, Question
from align_eval.judges.cache import ReplyCache, default_path
from align_eval.judges.cost import estimate, price_of
from align_eval.judges.prompt import REPLY_SCHEMA, load_template, read_choice

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
        ConfigError: The URL is unusable or holds a secret, the key is missing, or it would travel in clear text.
    """
    parts = urlsplit(url)
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
    if key and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"--base-url: http to {parts.hostname} would send the key in clear text",
            do=f"Use https, or unset {KEY_VARIABLE} if that endpoint needs none",
        )
    return Endpoint(url, key or NO_KEY)


class OpenAIJudge:
    """Asks a chat model which answer is better.

    Args:
        model: The model's name at the endpoint.
        config: The judging settings.
        say: Where the estimate before the first call goes.
        backoff_s: First pause between tries.
    """

    def __init__(
        self, model: str, config: JudgeConfig, *, say: Callable[[str], None] | None = None, backoff_s: float = 0.5
    ) -> None:
        self.model, self.config, self.backoff_s = model, config, backoff_s
        self.endpoint = endpoint(config.base_url)
        self.template = load_template()
        self.say = say or (lambda text: print(text, file=sys.stderr))
        is_openai = config.base_url == OPENAI_URL
        self.price = price_of(model, config.price_input_usd, config.price_output_usd, is_openai=is_openai)
        if self.price is None and config.max_cost_usd is not None:
            raise ConfigError(
                f"--max-cost-usd: the price of {model} at {config.base_url} is unknown",
                do="Give --price-input-usd and --price-output-usd (0 for a model of your own)",
            )

    @property
    def facts(self) -> JudgeFacts:
        """The model and the digest of the prompt."""
        return JudgeFacts(f"openai:{self.model}", prompt_digest=self.template.digest, model=self.model)

    def request(self, question: Question) -> Request:
        """Turn a question into a call; its key is the digest of the endpoint and of the whole body."""
        text = self.template.fill(question.prompt, question.first, question.second)
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": self.config.temperature,
            "max_tokens": self.config.max_reply_tokens,
        }
        if self.config.response_format == "json_schema":
            body["response_format"] = {"type": "json_schema", "json_schema": REPLY_SCHEMA}
        elif self.config.response_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return Request(digest({"url": self.endpoint.url, **body}), text, body)

    def ask(self, questions: Sequence[Question]) -> list[Opinion]:
        """Give the opinions; identical answers are a tie and are not asked about.

        Args:
            questions: Ordered pairs.

        Returns:
            One opinion each; "invalid" where the reply was unusable.

        Raises:
            BudgetError: The cap is too low, or was reached; what was answered is kept.
            IncompleteError: Some questions stayed without a reply; what was answered is kept.
            ConfigError: The endpoint refuses the key, the model or the request.
        """
        requests = [None if q.first == q.second else self.request(q) for q in questions]
        unique = {request.key: request for request in requests if request is not None}
        with ReplyCache(self.config.cache or default_path()) as cache:
            known = cache.answered(unique)
            if self.config.retry_invalid:
                known = {key: reply for key, reply in known.items() if read_choice(reply.text) != "invalid"}
            missing = [request for key, request in unique.items() if key not in known]
            job = digest(sorted(unique))
            self._announce(missing, len(known), cache.spent(job))
            if missing:
                asyncio.run(self._ask(missing, cache, job))
                known |= cache.answered(request.key for request in missing)
        return [Opinion("tie") if r is None else Opinion(read_choice(known[r.key].text)) for r in requests]

    def _announce(self, missing: list[Request], known: int, spent: float) -> None:
        """Say what asking will cost; refuse at once what cannot fit under the cap."""
        guess = estimate([request.text for request in missing], self.config.max_reply_tokens, self.price)
        cost = "price unknown" if guess.usd is None else f"about {guess.usd:.4f} USD"
        if not self.config.quiet:
            self.say(
                f"judge {self.model}: {guess.questions} questions to ask, {known} answered before; about "
                f"{guess.tokens_read} tokens to read and {guess.tokens_written} to write, {cost}"
            )
        cap = self.config.max_cost_usd
        if cap is not None and guess.usd is not None and spent + guess.usd > cap:
            raise BudgetError(
                f"judging would cost about {spent + guess.usd:.4f} USD, {spent:.4f} of it already spent",
                expected=f"at most {cap:.4f} USD",
                do="Raise --max-cost-usd; nothing was asked",
            )

    async def _ask(self, missing: list[Request], cache: ReplyCache, job: str) -> None:
        from align_mlx.progress import Meter

        config = self.config
        async with openai.AsyncOpenAI(
            api_key=self.endpoint.key, base_url=self.endpoint.url, max_retries=0, timeout=config.timeout_s
        ) as client:
            with Meter(f"judge {self.model}", len(missing), unit="question", quiet=config.quiet) as meter:
                await Asker(
                    client=client,
                    secret=self.endpoint.key if self.endpoint.key != NO_KEY else "",
                    cache=cache,
                    job=job,
                    reply_tokens=config.max_reply_tokens,
                    price=self.price,
                    cap_usd=config.max_cost_usd,
                    concurrency=config.concurrency,
                    attempts=config.attempts,
                    timeout_s=config.timeout_s,
                    backoff_s=self.backoff_s,
                    progress=meter.advance,
                ).ask_all(missing)
