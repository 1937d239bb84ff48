"""A judge behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from align_contracts.canonical import digest
from align_contracts.errors import BudgetError, ConfigError
from align_eval.config import OPENAI_URL, JudgeConfig
from align_eval.judges.asking import Asker, Request
from align_eval.judges.base import Choice, JudgeFacts, Opinion, Question
from align_eval.judges.cache import ReplyCache, default_path
from align_eval.judges.cost import estimate, most_tokens, price_of
from align_eval.judges.endpoint import NO_KEY, Endpoint, endpoint
from align_eval.judges.prompt import (
    PROBE_SCHEMA,
    PROBE_TEXT,
    REPLIES,
    REPLY_SCHEMA,
    ReplyForm,
    fill,
    load_prompt,
    read_choice,
)
from align_eval.judges.reply import CUT, Reply


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
        # A forecast asks nobody, so it needs no key.
        self.endpoint = Endpoint(config.base_url, NO_KEY) if config.dry_run else endpoint(config.base_url)
        self.prompts: dict[ReplyForm, str] = {form: load_prompt(form) for form in REPLIES}
        self.form: ReplyForm | None = None if config.reply_form == "auto" else config.reply_form
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
        """The model and, once it was asked, the form of its replies and the prompt."""
        prompt = self.prompts[self.form] if self.form else None
        return JudgeFacts(f"openai:{self.model}", prompt=prompt, model=self.model, reply_form=self.form)

    def forecast(self, questions: Sequence[Question]) -> str:
        """Say what asking these questions would cost; nobody is asked, and no file is made."""
        config, path = self.config, self.config.cache or default_path()
        asked = _worth_asking(questions)
        form = self.form or "json_schema"
        known: dict[str, Reply] = {}
        missing, spent = list({one.key: one for one in (self._request(q, form) for q in asked)}.values()), 0.0
        if path.exists():
            with ReplyCache(path) as cache:
                form = self.form or self._known_form(cache) or form
                missing, known = self._sort([self._request(question, form) for question in asked], form, cache)
                spent = cache.spent(self._job(asked))
        lines = [f"judge {self.model}: {len(missing)} questions to ask, {len(known)} answered before"]
        lines.append(str(estimate([request.text for request in missing], config.max_reply_tokens, self.price)))
        if self.price is not None:
            most = sum(self.price.of(most_tokens(one.body), config.max_reply_tokens) for one in missing)
            cap = "no cap" if config.max_cost_usd is None else f"the cap is {config.max_cost_usd:.4f} USD"
            lines.append(f"at most {most:.4f} USD if no call fails; {spent:.4f} USD spent so far, {cap}")
        return "\n".join(lines)

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
            InterruptedRun: SIGINT or SIGTERM came; what was answered is kept.
            PreflightError: The cache cannot be used, or another process asks the same questions.
        """
        asked = _worth_asking(questions)
        job = self._job(asked)
        with ReplyCache(self.config.cache or default_path()) as cache, cache.alone(job):
            self.form = self.form or self._known_form(cache)
            form = self.form or "json_schema"  # the two forms cost nearly the same: good enough to estimate
            missing, known = self._sort([self._request(question, form) for question in asked], form, cache)
            probe = [] if self.form else [self._probe()]
            self._announce([*probe, *missing], len(known), cache.spent(job))
            if self.form is None:
                self.form = form = self._find_form(cache, job)
                missing, known = self._sort([self._request(question, form) for question in asked], form, cache)
            if missing:
                asyncio.run(self._ask(missing, cache, job, again=self.config.retry_invalid))
                known |= cache.answered(request.key for request in missing)
        if not self.config.quiet:
            self._tell_unusable(form, known.values())
        return [Opinion(self._choice(question, form, known)) for question in questions]

    def _job(self, asked: Sequence[Question]) -> str:
        """Identity of a judging, for which the cap holds: the endpoint and the questions, however they are asked."""
        return digest([self.endpoint.url, self.model, *sorted({self._request(q, "json_schema").key for q in asked})])

    def _tell_unusable(self, form: ReplyForm, replies: Iterable[Reply]) -> None:
        """Say how many replies are no verdict, and why."""
        unusable = [reply for reply in replies if read_choice(form, reply.whole) == "invalid"]
        why = Counter(
            "refused" if one.text is None else "cut off" if one.problem == CUT else "unclear" for one in unusable
        )
        if unusable:
            counts = ", ".join(f"{count} {reason}" for reason, count in sorted(why.items()))
            self.say(f"judge {self.model}: {len(unusable)} replies are no verdict ({counts})")

    def _choice(self, question: Question, form: ReplyForm, known: Mapping[str, Reply]) -> Choice:
        if question.first == question.second:
            return "tie"
        return read_choice(form, known[self._request(question, form).key].whole)

    def _request(self, question: Question, form: ReplyForm) -> Request:
        text = fill(self.prompts[form], question.prompt, question.first, question.second)
        return self._call(text, REPLY_SCHEMA if form == "json_schema" else None)

    def _call(self, text: str, schema: Mapping[str, Any] | None, *, may_be_refused: bool = False) -> Request:
        """A call; its key is the digest of the endpoint and of the whole body, both texts and their order included."""
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": text}]}
        if self.config.temperature is not None:
            body["temperature"] = self.config.temperature
        # OpenAI's newer models refuse the old name; many other endpoints know only that.
        limit = "max_completion_tokens" if self.config.base_url == OPENAI_URL else "max_tokens"
        body[limit] = self.config.max_reply_tokens
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return Request(digest({"url": self.endpoint.url, **body}), text, body, may_be_refused)

    def _sort(
        self, requests: Sequence[Request], form: ReplyForm, cache: ReplyCache
    ) -> tuple[list[Request], dict[str, Reply]]:
        """Return the calls to make, each once, and the replies that are known."""
        unique = {request.key: request for request in requests}
        known = cache.answered(unique)
        if self.config.retry_invalid:
            known = {key: reply for key, reply in known.items() if read_choice(form, reply.whole) != "invalid"}
        return [request for key, request in unique.items() if key not in known], known

    def _probe(self, schema: Mapping[str, Any] | None = PROBE_SCHEMA) -> Request:
        return self._call(PROBE_TEXT, schema, may_be_refused=schema is not None)

    def _known_form(self, cache: ReplyCache) -> ReplyForm | None:
        """What the endpoint's kept replies say: a schema kept, one ignored, or one refused where plain text is not."""
        reply = cache.get(self._probe().key)
        if reply is None:
            return None
        if read_choice("json_schema", reply.whole) != "invalid":
            return "json_schema"
        return "label" if reply.text is not None or cache.get(self._probe(None).key) is not None else None

    def _find_form(self, cache: ReplyCache, job: str) -> ReplyForm:
        """Try the endpoint once; its reply is kept, so the decision holds for later judgings too.

        A refusal of the schema counts only where the same call without a schema is answered: a wrong model's name or a
        wrong setting is an error, and no form of reply.
        """
        asyncio.run(self._ask([self._probe()], cache, job, again=True))
        form = self._known_form(cache)
        if form is None:
            asyncio.run(self._ask([self._probe(None)], cache, job, again=True))  # raises unless it is answered
            form = "label"
        if not self.config.quiet:
            how = "keeps to JSON schemas" if form == "json_schema" else "does not keep to JSON schemas: labels are read"
            self.say(f"judge {self.model}: the endpoint {how}")
        return form

    def _announce(self, missing: list[Request], known: int, spent: float) -> None:
        """Say what asking will cost; refuse at once what cannot fit under the cap."""
        guess = estimate([request.text for request in missing], self.config.max_reply_tokens, self.price)
        if not self.config.quiet:
            self.say(f"judge {self.model}: {guess.questions} questions to ask, {known} answered before; {guess}")
        cap = self.config.max_cost_usd
        if cap is not None and guess.usd is not None and spent + guess.usd > cap:
            raise BudgetError(
                f"judging would cost about {spent + guess.usd:.4f} USD, {spent:.4f} of it already spent",
                expected=f"at most {cap:.4f} USD",
                do="Raise --max-cost-usd; nothing was asked",
            )

    async def _ask(self, missing: list[Request], cache: ReplyCache, job: str, *, again: bool) -> None:
        from align_mlx.progress import Meter

        config = self.config
        async with self.endpoint.client(config.timeout_s) as client:
            with Meter(f"judge {self.model}", len(missing), unit="question", quiet=config.quiet) as meter:
                await Asker(
                    client=client,
                    cache=cache,
                    job=job,
                    reply_tokens=config.max_reply_tokens,
                    price=self.price,
                    cap_usd=config.max_cost_usd,
                    concurrency=config.concurrency,
                    attempts=config.attempts,
                    timeout_s=config.timeout_s,
                    backoff_s=self.backoff_s,
                    again=again,
                    progress=meter.advance,
                ).ask_all(missing)


def _worth_asking(questions: Iterable[Question]) -> list[Question]:
    """The questions whose two answers differ."""
    return [question for question in questions if question.first != question.second]
