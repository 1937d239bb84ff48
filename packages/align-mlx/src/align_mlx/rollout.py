"""Sampling answers in batches: each prompt is read once, its K answers share it, finished rows leave the batch.

A step is begun before the tokens of the one before are read, and rows leave a few at a time (`GONE`). What a row does
after its end changes no other row: random numbers belong to a place, not to a batch.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.models.cache import BatchKVCache, BatchRotatingKVCache, KVCache, RotatingKVCache, make_prompt_cache

from align_contracts import signals
from align_contracts.errors import ConfigError
from align_mlx.adapters import Adapter
from align_mlx.chat import Tokens
from align_mlx.compute import pass_tokens
from align_mlx.resident import Resident
from align_mlx.sampling import inverse_cdf, uniforms
from align_mlx.world import ALONE, World

GONE = 1 / 8
"""Rows leave the batch when so large a part of it has ended: the keys and values of those that stay are copied."""


@dataclass(frozen=True)
class Draw:
    """Where the random numbers of a rollout come from: the run's seed and the iteration."""

    seed: int
    iteration: int = 0


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer: its ids, and what its random draws depend on.

    Attributes:
        ids: the templated prompt.
        number: its stable number.
        first: k of its first answer; not 0 where the same prompt was answered before in one rollout.
    """

    ids: tuple[int, ...]
    number: int
    first: int = 0


@dataclass(frozen=True)
class Answer:
    """One sampled answer; `truncated` where it was cut at the length limit instead of ending by itself."""

    tokens: Tokens
    truncated: bool


def prompt_number(prompt_id: str) -> int:
    """Give the stable number of a prompt, on which its random draws depend: 63 bits of its id's sha256."""
    return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8], "big") >> 1


def sample(
    resident: Resident,
    adapters: Sequence[Adapter],
    prompts: Sequence[Prompt],
    *,
    draw: Draw,
    answers: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    max_rows: int = 128,
    token_budget: int = 0,
    tick: Callable[[int], None] = lambda done: None,
    world: World = ALONE,
) -> list[Answer]:
    """Sample `answers` continuations of each prompt.

    Args:
        resident: the base.
        adapters: the policy's adapters over the shared ones.
        prompts: what to answer.
        draw: seed and iteration of the random numbers.
        answers: K, answers a prompt.
        max_new_tokens: most tokens of an answer, its end token included.
        temperature: 0 is greedy.
        max_rows: most rows decoded at the same time (but at least the K answers of one prompt); changes memory and
            speed, never the draws.
        token_budget: most padded tokens of the prompts that are read at once; 0: what suits the machine.
        tick: called with the number of prompts done after each group, here and in the other processes.
        world: the processes that share the prompts; all get all answers.

    Returns:
        P·K answers, prompt by prompt. Every answer has at least one token.

    Raises:
        ConfigError: the model keeps another state than keys and values, so rows cannot share or leave a batch.
    """
    prompts = _told_apart(prompts, answers)
    per_group = max(1, max_rows // answers)
    everything = sorted(range(len(prompts)), key=lambda i: (len(prompts[i].ids), i))
    order, result = world.share(everything), dict[int, list[Answer]]()
    for start in range(0, len(order), per_group):
        group = order[start : start + per_group]
        few, columns = [prompts[i] for i in group], max(1, (token_budget or pass_tokens()) // len(group))
        decoded = _decode(few, resident, adapters, draw, answers, max_new_tokens, temperature, columns)
        for place, i in enumerate(group):
            result[i] = decoded[place * answers : (place + 1) * answers]
        tick(min((start + per_group) * world.size, len(prompts)))
    own = [[[list(a.tokens.response), a.truncated] for a in result[i]] for i in order]
    drawn = dict(zip(everything, world.whole(world.gather("answers", own)), strict=True)) if world.size > 1 else {}
    for i, answers_K in drawn.items():
        result[i] = [Answer(Tokens(prompts[i].ids, tuple(ids)), truncated) for ids, truncated in answers_K]
    return [answer for i in range(len(prompts)) for answer in result[i]]


def _told_apart(prompts: Sequence[Prompt], answers: int) -> list[Prompt]:
    """Let a prompt that stands here again go on counting its answers, so that they are not the same ones."""
    seen: dict[int, int] = {}
    apart: list[Prompt] = []
    for prompt in prompts:
        apart.append(replace(prompt, first=prompt.first + seen.get(prompt.number, 0)))
        seen[prompt.number] = seen.get(prompt.number, 0) + answers
    return apart


def _decode(
    prompts: list[Prompt],
    resident: Resident,
    adapters: Sequence[Adapter],
    draw: Draw,
    answers: int,
    steps: int,
    temperature: float,
    columns: int,
) -> list[Answer]:
    width = max(len(p.ids) for p in prompts)
    padding = [width - len(p.ids) for p in prompts]
    ids = np.zeros((len(prompts), width), np.int32)
    for row, prompt in enumerate(prompts):
        ids[row, padding[row] :] = prompt.ids
    cache, worn = _batch_cache(resident, padding), resident.outfit(adapters)
    each = mx.array(np.repeat(np.arange(len(prompts)), answers))  # a prompt is read once, for its K answers
    for start in range(0, width, columns):
        signals.check()
        hidden = resident.hidden(mx.array(ids[:, start : start + columns]), worn, cache)
        mx.eval(hidden, *(layer.state for layer in cache))
    logits = resident.logits(hidden[:, -1])[each]
    _keep_rows(cache, each)

    numbers = np.repeat([p.number for p in prompts], answers)
    kth = np.tile(np.arange(answers), len(prompts)) + np.repeat([p.first for p in prompts], answers)
    draws_BT = uniforms(draw.seed, draw.iteration, numbers, kth, steps)
    ends = np.array(sorted(resident.end_tokens), np.int32)
    sampled: list[list[int]] = [[] for _ in numbers]
    ended, alive = np.zeros(len(numbers), np.bool_), np.arange(len(numbers))

    ahead = inverse_cdf(logits, mx.array(draws_BT[:, 0]), temperature)
    for t in range(steps):
        signals.check()
        tokens, places = ahead, alive
        if t + 1 < steps:  # begun before this step's tokens are read, so that the device need not wait for Python
            logits = resident.logits(resident.hidden(tokens[:, None], worn, cache)[:, -1])
            ahead = inverse_cdf(logits, mx.array(draws_BT[alive, t + 1]), temperature)
            mx.async_eval(ahead)
        seen = np.array(tokens)
        for place, token in zip(places, seen, strict=True):
            if not ended[place]:
                sampled[place].append(int(token))
        ended[places[np.isin(seen, ends)]] = True
        if t + 1 == steps or ended.all():
            break
        if ended[alive].sum() >= max(1, GONE * len(alive)):
            going = np.flatnonzero(~ended[alive])
            keep = mx.array(going)
            _keep_rows(cache, keep)
            ahead, alive = ahead[keep], alive[going]
            mx.async_eval(ahead)  # by itself: read with the next step, it would wait for that step's end
    finished = resident.end_tokens
    return [
        Answer(Tokens(prompts[row // answers].ids, tuple(ids)), truncated=ids[-1] not in finished)
        for row, ids in enumerate(sampled)
    ]


def require_exact_decoding(resident: Resident, longest: int) -> None:
    """Raise ConfigError where answers cannot be sampled in batches as they will be scored.

    Two prompts of different lengths and their next tokens go through the batch caches and through the plain forward
    pass; hidden states must agree up to the rounding of the compute format. This finds models with other caches
    (recurrent, chunked), those that take no padding on the left, and those whose sliding window has another length in
    the cache than without it.

    Args:
        resident: the base.
        longest: most tokens of a prompt and its answer; windows that none outgrows are not tried.
    """
    windows = [c.max_size for c in make_prompt_cache(resident.model) if isinstance(c, RotatingKVCache)]
    width = max([5, *(size + 2 for size in windows if size < longest)])
    rows = [[(7 * i + row) % resident.vocab_size for i in range(length + 1)] for row, length in enumerate((2, width))]
    padding = [width - 2, 0]
    cache = _batch_cache(resident, padding)
    try:
        prompts_BL = mx.array([[0] * n + row[:-1] for n, row in zip(padding, rows, strict=True)])
        states = [resident.hidden(tokens, (), cache) for tokens in (prompts_BL, mx.array([row[-1:] for row in rows]))]
    except ValueError as error:  # shapes that do not fit
        raise _no_batches(resident, str(error)) from error
    found = mx.stack([hidden[:, -1] for hidden in states], axis=1).astype(mx.float32)
    exact = mx.concatenate([resident.hidden(mx.array([row]))[:, -2:] for row in rows]).astype(mx.float32)
    apart = (mx.linalg.norm(found - exact, axis=-1) / mx.linalg.norm(exact, axis=-1)).max().item()
    if not apart <= (1e-4 if resident.compute.dtype == mx.float32 else 0.1):  # false for nan too
        raise _no_batches(resident, f"hidden states off by {apart:.2%} behind padding or beyond the window")


def _no_batches(resident: Resident, got: str) -> ConfigError:
    return ConfigError(
        f"a model of type {resident.config.get('model_type')} cannot answer prompts in batches",
        expected="attention caches (KVCache, RotatingKVCache) with padding on the left, as exact as no cache",
        got=got,
        do="use another model: answers of this one would not be those that are scored",
    )


def _batch_cache(resident: Resident, padding: list[int]) -> list[BatchKVCache | BatchRotatingKVCache]:
    """Give mlx-lm's batch caches for left-padded prompts, as many as the model wants, rotating where its own are.

    Raises:
        ConfigError: the model keeps another kind of state.
    """
    caches: list[BatchKVCache | BatchRotatingKVCache] = []
    for single in make_prompt_cache(resident.model):
        if type(single) is KVCache:
            caches.append(BatchKVCache(padding))
        elif type(single) is RotatingKVCache and single.keep == 0:
            caches.append(BatchRotatingKVCache(single.max_size, padding))
        else:
            raise _no_batches(resident, type(single).__name__)
    return caches


def _keep_rows(cache: list[Any], rows: mx.array) -> None:
    """Go on with these rows alone, in this order; a row may stand there several times.

    Not mlx-lm's `filter`: it reads the padding back, and so waits for the step that is being computed.
    """
    for layer in cache:
        layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        layer.offset, layer.left_padding = layer.offset[rows], layer.left_padding[rows]
