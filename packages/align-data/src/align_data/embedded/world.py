"""The embedded world as data: preference rows and the corpus a small base model is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import zip_longest
from random import Random
from typing import Any

from align_contracts.checks import score_answer
from align_contracts.errors import ConfigError
from align_data.embedded import creative, factual, instruction, lexicon
from align_data.embedded.authors import AUTHORS, Answer, answer, compose, style_flaws
from align_data.embedded.draw import bell, chance, pick, several, shuffled
from align_data.embedded.facts import RELATIONS
from align_data.embedded.task import Task

GAP = 1.0
"""How much lower than the best answer, in points of ten, a rejected one scores at least."""

NOISE = 0.3
"""Standard deviation of the noise on a 1-10 score: people do not agree with themselves either."""

CORPUS_LINES = 24_000
"""Lines of the corpus."""

CORPUS_BYTES = 3 * 2**20
"""Of the corpus as a file, at most."""

_FAMILIES = {"factual": factual.tasks, "instruction": instruction.tasks, "creative": creative.tasks}


def tasks(seed: int) -> Iterator[Task]:
    """Yield every prompt of the world once, in an order drawn from ``seed``.

    Categories take turns, and so do the families inside a category, until they run out: the first n tasks are
    balanced over three categories for every n up to three times the smallest category.
    """
    rng = Random(seed)
    categories = []
    for make in _FAMILIES.values():
        families: dict[str, list[Task]] = {}
        for task in make():
            families.setdefault(task.family, []).append(task)
        turns = zip_longest(*(shuffled(rng, family) for family in families.values()))
        categories.append([task for turn in turns for task in turn if task is not None])
    for turn in zip(*categories, strict=False):
        yield from turn


def rows(seed: int, prompts: int) -> list[dict[str, Any]]:
    """Make preference rows in the columns of ``ultrafeedback_binarized``, with checks.

    Four authors answer each prompt. An answer's score is 1 + 9 times its reference score plus noise, clipped
    to [1, 10] and rounded to 0.1. The best answer is chosen; rejected is a random other one that scores at least
    ``GAP`` lower, so that a preference is more than noise.

    Args:
        seed: the same seed gives the same rows, and the first rows are the same for every ``prompts``.
        prompts: number of rows; each has its own prompt.

    Returns:
        Rows with ``prompt, prompt_id, chosen, rejected, messages`` (an answer is two messages, its prompt
        first), ``score_chosen, score_rejected, category, checks`` and, for analysis, ``family`` and ``answers``
        (the four texts with scores, authors and flaws).

    Raises:
        ConfigError: the world has fewer prompts than asked for.
    """
    result: list[dict[str, Any]] = []
    for task in tasks(seed):
        if len(result) >= prompts:
            break
        row = _row(task, Random(f"{seed}/{task.prompt}"))
        if row is not None:
            result.append(row)
    if len(result) < prompts:
        raise ConfigError("embedded prompts", expected=f"at most {len(result)}", got=prompts, do="Ask for fewer.")
    return result


def _row(task: Task, rng: Random) -> dict[str, Any] | None:
    """Answer one prompt four times and make its row, or None if no answer is clearly worse than the best."""
    checks = {"references": [compose(rng, task, frozenset())], "items": task.items()}
    scored = [(given, _score(rng, given.text, checks)) for given in _four(rng, task)]
    best, best_score = max(scored, key=lambda pair: pair[1])
    worse = [pair for pair in scored if pair[1] <= best_score - GAP]
    if not worse:
        return None
    rejected, rejected_score = pick(rng, worse)
    return {
        "prompt": task.prompt,
        "prompt_id": hashlib.sha256(task.prompt.encode()).hexdigest(),
        "chosen": _messages(task.prompt, best.text),
        "rejected": _messages(task.prompt, rejected.text),
        "messages": _messages(task.prompt, best.text),
        "score_chosen": best_score,
        "score_rejected": rejected_score,
        "category": task.category,
        "checks": checks,
        "family": task.family,
        "answers": [
            {"text": given.text, "score": score, "author": given.author, "flaws": list(given.flaws)}
            for given, score in scored
        ],
    }


def _four(rng: Random, task: Task) -> list[Answer]:
    """Return four answers of four authors, no two with the same text."""
    answers: list[Answer] = []
    for author in several(rng, AUTHORS, 4):
        given = answer(rng, task, author)
        while any(given.text == other.text for other in answers):
            given = answer(rng, task, author)
        answers.append(given)
    return answers


def _score(rng: Random, text: str, checks: dict[str, Any]) -> float:
    """Score one answer on the 1-10 scale, noise included."""
    return round(min(10.0, max(1.0, 1.0 + 9.0 * score_answer(text, checks) + bell(rng, NOISE))), 1)


def _messages(prompt: str, text: str) -> list[dict[str, str]]:
    """Return a prompt and its answer as two chat messages."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]


def corpus(seed: int, exclude_prompts: Collection[str]) -> Iterator[str]:
    """Yield the texts that the embedded base model is trained on.

    A quarter are true facts, a tenth lists, scenes, tales, rhymes and wishes, and the rest are dialogues: a prompt, a
    line break, and an answer that is nearly always right in content and has any author's flaws of style. So the base
    has seen turns and knows its world, as an instruction-tuned model does; what is left to learn is how to say it.

    Args:
        seed: the same seed and exclusions give the same lines.
        exclude_prompts: prompts (of the test split, say) that stand in no line, not even in a longer prompt.

    Yields:
        ``CORPUS_LINES`` texts; only dialogues hold a line break, between their two turns.
    """
    rng = Random(f"corpus/{seed}")
    excluded = sorted(set(exclude_prompts))
    asked = [task for task in tasks(seed) if not any(prompt in task.prompt for prompt in excluded)]
    for _ in range(CORPUS_LINES):
        kind = rng.random()
        if kind < 0.25:
            yield f"{_fact(rng)}. {_fact(rng)}."
        elif kind < 0.35:
            yield f"{_prose(rng)}. {pick(rng, lexicon.CLOSINGS)}." if chance(rng, 0.3) else f"{_prose(rng)}."
        else:
            task = pick(rng, asked)
            yield f"{task.prompt}\n{compose(rng, task, style_flaws(rng, pick(rng, AUTHORS)))}"


def _fact(rng: Random) -> str:
    """Return one true statement."""
    relation = pick(rng, RELATIONS)
    subject = pick(rng, list(relation.facts))
    return factual.statement(rng, relation, subject, relation.facts[subject])


def _prose(rng: Random) -> str:
    """Return a sentence such as instruction and creative prompts ask for, without its final mark."""
    kind = pick(rng, ("list", "scene", "tale", "rhyme", "wish"))
    if kind == "list":
        category = pick(rng, list(lexicon.CATEGORIES))
        count = pick(rng, (2, 3, 4))
        return instruction.naming(rng, category, count, several(rng, lexicon.CATEGORIES[category], count))
    if kind == "scene":
        return instruction.scene(rng, pick(rng, lexicon.HEROES), pick(rng, lexicon.THINGS))
    if kind == "tale":
        return creative.tale(rng, pick(rng, lexicon.HEROES), pick(rng, lexicon.PLACES))
    if kind == "rhyme":
        return creative.couplet(rng, *several(rng, pick(rng, lexicon.RHYMES), 2))
    return creative.wish(rng, pick(rng, lexicon.PERSONS), pick(rng, lexicon.OCCASIONS))
