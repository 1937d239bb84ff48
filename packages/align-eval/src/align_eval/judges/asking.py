"""Asking many questions at once: bounded concurrency, bounded retries, every reply kept as it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from align_contracts.errors import AlignError, BudgetError, IncompleteError
from align_eval.judges.cache import CUT, Reply, ReplyCache
from align_eval.judges.cost import Price, most_tokens
from align_eval.judges.faults import MalformedReplyError, classify

GIVE_UP_AFTER = 5
"""Questions that may run out of tries before the endpoint counts as down."""


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        key: Identity of everything that decides the reply.
        text: The message, to reckon its size.
        body: Arguments of the chat completion.
        may_be_refused: Whether a refusal of the request is an answer to it, and no reason to stop.
    """

    key: str
    text: str
    body: dict[str, Any]
    may_be_refused: bool = False


@dataclass
class Asker:
    """Asks requests of one job.

    Attributes:
        client: The SDK's client, without retries of its own.
        secret: The API key, to keep it out of messages.
        cache: Where replies and charges go.
        job: Identity of the whole judging; the cost cap holds for it, over all its runs.
        reply_tokens: Longest reply.
        price: USD per million tokens; None switches cost accounting off.
        cap_usd: Most that the job may cost.
        concurrency: Calls in flight.
        attempts: Tries of one call.
        timeout_s: Longest try in seconds.
        backoff_s: First pause; doubled each time, at most 30 s, times a random factor in [0.5, 1].
        progress: Called after each reply.
    """

    client: openai.AsyncOpenAI
    secret: str
    cache: ReplyCache
    job: str
    reply_tokens: int
    price: Price | None
    cap_usd: float | None
    concurrency: int
    attempts: int
    timeout_s: float
    backoff_s: float = 0.5
    progress: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._stop: AlignError | None = None
        self._exhausted = 0
        self._last_reason = ""

    async def ask_all(self, requests: Sequence[Request]) -> None:
        """Ask all requests; what is answered is in the cache, whatever happens then.

        Raises:
            BudgetError: The next call could exceed the cap.
            IncompleteError: Some questions stayed without a reply, or the server asked for a long pause.
            ConfigError: The endpoint refuses the key, the model or the request.
        """
        left = iter(requests)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self.concurrency, len(requests))):
                group.create_task(self._work(left))
        if self._stop is not None:
            raise self._stop
        if self._exhausted:
            raise self._incomplete("stayed without a reply")

    async def _work(self, left: Iterator[Request]) -> None:
        for request in left:
            if self._stop is not None:
                return
            await self._ask(request)

    async def _ask(self, request: Request) -> None:
        for attempt in range(self.attempts):
            charge = self._book(request)
            if self._stop is not None:
                return
            try:
                reply = await self._call(request)
            except Exception as error:
                fault = classify(error, self.secret)
                if charge is not None and not fault.billed:
                    self.cache.settle(charge, 0.0)
                if fault.action == "stop" or (fault.action == "refused" and not request.may_be_refused):
                    self._stop = self._stop or fault.error
                    return
                if fault.action != "retry":
                    self._keep(request, Reply(None, fault.reason), None)
                    return
                self._last_reason = fault.reason
                if attempt + 1 < self.attempts:
                    await asyncio.sleep(self._pause(attempt, fault.wait_s))
                if self._stop is not None:
                    return
            else:
                self._keep(request, reply, charge)
                return
        self._exhausted += 1
        if self._exhausted >= GIVE_UP_AFTER and self._stop is None:
            self._stop = self._incomplete("ran out of tries, the endpoint seems to be down")

    async def _call(self, request: Request) -> Reply:
        async with asyncio.timeout(self.timeout_s):
            completion = await self.client.chat.completions.create(**request.body)
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise MalformedReplyError
        choice, usage = completion.choices[0], completion.usage
        if choice.message is None:
            raise MalformedReplyError
        read = usage.prompt_tokens if usage else None
        written = usage.completion_tokens if usage else None
        if choice.message.refusal or choice.message.content is None:
            return Reply(None, choice.message.refusal or str(choice.finish_reason), read, written)
        return Reply(choice.message.content, CUT if choice.finish_reason == "length" else None, read, written)

    def _most(self, request: Request) -> float:
        return self.price.of(most_tokens(request.text), self.reply_tokens) if self.price else 0.0

    def _book(self, request: Request) -> int | None:
        """Book the most this call can cost; stop the run where that would break the cap."""
        if self.price is None or self._stop is not None:
            return None
        most = self._most(request)
        spent = self.cache.spent(self.job)
        if self.cap_usd is not None and spent + most > self.cap_usd:
            self._stop = BudgetError(
                f"the next question could exceed the cap of {self.cap_usd:.4f} USD",
                got=f"{spent:.4f} USD spent or in flight",
                do="Raise --max-cost-usd and run again: the replies so far are kept",
            )
            return None
        return self.cache.charge(self.job, request.key, most)

    def _keep(self, request: Request, reply: Reply, charge: int | None) -> None:
        usd = self._most(request)
        if self.price and reply.tokens_read is not None and reply.tokens_written is not None:
            usd = self.price.of(reply.tokens_read, reply.tokens_written)
        self.cache.put(request.key, reply, charge, usd)
        self.progress()

    def _pause(self, attempt: int, wanted_s: float | None) -> float:
        own = min(30.0, self.backoff_s * 2.0**attempt) * random.uniform(0.5, 1.0)
        return max(own, wanted_s or 0.0)

    def _incomplete(self, what: str) -> IncompleteError:
        return IncompleteError(
            f"{self._exhausted} questions {what}",
            got=f"last: {self._last_reason}",
            do="Run again: only they are asked",
        )
