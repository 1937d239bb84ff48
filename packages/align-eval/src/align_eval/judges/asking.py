"""Asking many questions at once: bounded concurrency, bounded retries, every reply kept as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import openai

from align_contracts import signals
from align_contracts.errors import AlignError, BudgetError, IncompleteError, InterruptedRun
from align_eval.judges.cache import ReplyCache
from align_eval.judges.cost import Price, most_tokens
from align_eval.judges.faults import classify
from align_eval.judges.reply import Reply, read_completion

GIVE_UP_AFTER = 5
"""Questions that may run out of tries before the endpoint counts as down."""

GRACE_S = 10.0
"""How long a run that was asked to stop waits for the calls in flight: they are paid for."""


@dataclass(frozen=True)
class Request:
    """One call.

    Attributes:
        key: Identity of everything that decides the reply.
        text: The message, to reckon its likely size.
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
        cache: Where replies and charges go.
        job: Identity of the whole judging; the cost cap holds for it, over all its runs.
        reply_tokens: Longest reply.
        price: USD per million tokens; None switches cost accounting off.
        cap_usd: Most that the job may cost.
        concurrency: Calls in flight.
        attempts: Tries of one call.
        timeout_s: Longest try in seconds.
        backoff_s: First pause; doubled each time, at most 30 s, times a random factor in [0.5, 1].
        again: Whether to ask even what has a reply, because that is unusable.
        progress: Called after each reply.
    """

    client: openai.AsyncOpenAI
    cache: ReplyCache
    job: str
    reply_tokens: int
    price: Price | None
    cap_usd: float | None
    concurrency: int
    attempts: int
    timeout_s: float
    backoff_s: float = 0.5
    again: bool = False
    progress: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._stop: AlignError | None = None
        self._stopping = asyncio.Event()
        self._exhausted = self._answered = 0
        self._last_reason = ""

    async def ask_all(self, requests: Sequence[Request]) -> None:
        """Ask all requests; what is answered is in the cache, whatever happens then.

        Raises:
            BudgetError: The next call could exceed the cap.
            IncompleteError: Some questions stayed without a reply, or the server asked for a long pause.
            ConfigError: The endpoint refuses the key, the model or the request.
            InterruptedRun: a signal came.
        """
        left = iter(requests)
        workers = [asyncio.ensure_future(self._work(left)) for _ in range(min(self.concurrency, len(requests)))]
        with self._signals(workers, len(requests)):
            try:
                await asyncio.gather(*workers)
            except asyncio.CancelledError:
                if self._stop is None:
                    raise
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if self._stop is not None:
            raise self._stop
        if self._exhausted:
            raise self._incomplete("stayed without a reply")

    async def _work(self, left: Iterator[Request]) -> None:
        for request in left:
            if self._stop is not None:
                return
            try:
                # Another judging may share the question, and may have paid for it since.
                if self.again or self.cache.get(request.key) is None:
                    await self._ask(request)
            except AlignError as error:  # of the cache
                self._end(error)

    async def _ask(self, request: Request) -> None:
        for attempt in range(self.attempts):
            charge = self._book(request)
            if self._stop is not None:
                return
            try:
                reply = await self._call(request)
            except Exception as error:
                fault = classify(error)
                if charge is not None and not fault.billed:
                    self.cache.settle(charge, 0.0)
                if fault.error is not None and not (fault.action == "refused" and request.may_be_refused):
                    self._end(fault.error)
                    return
                if fault.action != "retry":
                    self._keep(request, Reply(None, fault.reason), None)
                    return
                self._last_reason = fault.reason
                if attempt + 1 < self.attempts:
                    await self._pause(attempt, fault.wait_s)
                if self._stop is not None:
                    return
            else:
                self._keep(request, reply, charge)
                return
        self._exhausted += 1
        if self._exhausted >= GIVE_UP_AFTER:
            self._end(self._incomplete("ran out of tries, the endpoint seems to be down"))

    async def _call(self, request: Request) -> Reply:
        async with asyncio.timeout(self.timeout_s):
            raw = await self.client.chat.completions.with_raw_response.create(**request.body)
        return read_completion(raw.content)

    def _end(self, error: AlignError) -> None:
        """Let no new call begin; those in flight are paid for and may end. The first reason is the one to tell."""
        self._stop = self._stop or error
        self._stopping.set()

    def _most(self, request: Request) -> float:
        return self.price.of(most_tokens(request.body), self.reply_tokens) if self.price else 0.0

    def _book(self, request: Request) -> int | None:
        """Book the most this call can cost; stop the run where that would break the cap."""
        if self.price is None or self._stop is not None:
            return None
        charge = self.cache.book(self.job, request.key, self._most(request), self.cap_usd)
        if charge is None:
            self._end(
                BudgetError(
                    f"the next question could exceed the cap of {self.cap_usd:.4f} USD",
                    got=f"{self.cache.spent(self.job):.4f} USD spent or in flight",
                    do="Raise --max-cost-usd and run again: the replies so far are kept",
                )
            )
        return charge

    def _keep(self, request: Request, reply: Reply, charge: int | None) -> None:
        usd = most = self._most(request)
        if self.price and reply.tokens_read is not None and reply.tokens_written is not None:
            usd = self.price.of(reply.tokens_read, reply.tokens_written)
        self.cache.put(request.key, reply, charge, usd)
        self._answered += 1
        self.progress()
        if charge is not None and self.cap_usd is not None and usd > most:
            billed = f"{reply.tokens_read} tokens read and {reply.tokens_written} written"
            self._end(
                BudgetError(
                    "the endpoint bills more than the call's size and --max-reply-tokens allow, so no cap can hold",
                    got=billed,
                    do="Raise --max-reply-tokens to what it writes, or leave out --max-cost-usd",
                )
            )

    async def _pause(self, attempt: int, wanted_s: float | None) -> None:
        """Wait before the next try, no shorter than the server asks; a stop ends the pause."""
        own = min(30.0, self.backoff_s * 2.0**attempt) * random.uniform(0.5, 1.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), own + (wanted_s or 0.0))

    @contextlib.contextmanager
    def _signals(self, workers: Sequence[asyncio.Future[None]], asked: int) -> Iterator[None]:
        """Let a signal stop the run: calls in flight get `GRACE_S`, a second signal ends them at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            for worker in workers:
                worker.cancel()

        def stop(number: signal.Signals) -> None:
            if isinstance(self._stop, InterruptedRun):
                cancel()
                return
            what = f"judging was interrupted ({number.name}) after {self._answered} of {asked} questions"
            do = "Only the rest will be asked. Run the same command again"
            self._stop = InterruptedRun(what, signum=number, do=do, again=())
            self._stopping.set()
            loop.call_later(GRACE_S, cancel)

        before = {number: signal.getsignal(number) for number in signals.wanted()}
        for number in before:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _incomplete(self, what: str) -> IncompleteError:
        return IncompleteError(
            f"{self._exhausted} questions {what}",
            got=f"last: {self._last_reason}",
            do="Run again: only they are asked",
        )
