"""Reference checks: small, pure rules that say what a good answer to one prompt looks like.

A prompt row may carry ``checks``::

    {"references": ["the capital of italy is rome. take care."],
     "items": [{"kind": "contains_all", "weight": 0.4, "words": ["rome"], "unless": ["paris", "oslo"]},
               {"kind": "ends_with", "weight": 0.1, "words": ["take care"], "once": true}]}

:func:`score_answer` is the weighted share of satisfied items. Text is compared by its words: lower-case runs
of letters, digits and apostrophes; case, white space and other punctuation do not matter. A *phrase* is one
or more words that must stand next to each other. A *sentence* ends at ``.``, ``!``, ``?`` or a line break.

Four parameters are common to all kinds and keep empty text, word salad and copied prompts from scoring:

- ``about`` (list of phrases): the item counts only in an answer that has one of them. An absence ("no hedge")
  then earns nothing in an answer about something else.
- ``about_most`` (number): nor does the item count if more than so many of the ``about`` phrases are there, as
  when an answer lists everything.
- ``unless`` (list of phrases): the item does not count in an answer that has one of them, as when a right
  value stands beside its rivals.
- ``at_least`` (number): the item counts only in an answer of that many words.

An answer with no words satisfies no item, whatever its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from align_contracts.errors import ConfigError

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_COMMON = frozenset({"kind", "weight", "about", "about_most", "unless", "at_least"})

Words = tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """An answer cut into words and sentences once, so that every check reads the same parts.

    Attributes:
        words: all its words, lower-case.
        sentences: the words of each sentence; sentences without words are left out.
        marks: for each sentence, its closing marks (``"."``, ``"!"``, ``"?"``) or ``""`` if cut off.
    """

    words: Words
    sentences: tuple[Words, ...]
    marks: tuple[str, ...]

    @classmethod
    def of(cls, answer: str) -> Text:
        """Cut ``answer`` into its words and sentences."""
        parts = [(words_of(s), s.strip()) for s in _SENTENCE.findall(answer)]
        parts = [(words, s) for words, s in parts if words]
        marks = tuple(s[len(s.rstrip(".!?")) :] for _, s in parts)
        return cls(words_of(answer), tuple(words for words, _ in parts), marks)


@lru_cache(maxsize=65536)
def words_of(text: str) -> Words:
    """Return the lower-case words of ``text`` in order: ``"Rome, it's!"`` gives ``("rome", "it's")``."""
    return tuple(_WORD.findall(text.replace("\u2019", "'").lower()))


def count_phrase(words: Words, phrase: str) -> int:
    """Count how often the words of ``phrase`` stand next to each other in ``words`` (0 if it is empty)."""
    return _count(words, words_of(phrase))


def _count(words: Words, target: Words) -> int:
    """Count how often ``target`` stands in ``words``, overlaps included."""
    n = len(target)
    if n <= 1:
        return words.count(target[0]) if target else 0
    return sum(words[i : i + n] == target for i in range(len(words) - n + 1)) if target[0] in words else 0


def has_phrase(words: Words, phrase: str) -> bool:
    """Say whether ``phrase`` stands in ``words``."""
    return count_phrase(words, phrase) > 0


def contains_all(text: Text, *, words: Sequence[str], most: int | None = None) -> bool:
    """Every phrase of ``words`` stands in the answer, and none of them more than ``most`` times."""
    return all(1 <= n <= (most or n) for n in (count_phrase(text.words, phrase) for phrase in words))


def contains_any(text: Text, *, words: Sequence[str], most: int | None = None) -> bool:
    """At least one phrase of ``words`` stands in the answer, and all together at most ``most`` times."""
    total = sum(count_phrase(text.words, phrase) for phrase in words)
    return 1 <= total <= (most or total)


def contains_none(text: Text, *, words: Sequence[str]) -> bool:
    """No phrase of ``words`` stands in the answer. Give ``about`` too, or short nonsense passes."""
    return not contains_any(text, words=words)


def starts_with(text: Text, *, words: Sequence[str]) -> bool:
    """Some sentence of the answer begins with one of the phrases of ``words``."""
    starts = [words_of(phrase) for phrase in words]
    return any(sentence[: len(start)] == start for sentence in text.sentences for start in starts if start)


def starts_with_none(text: Text, *, words: Sequence[str]) -> bool:
    """The answer as a whole begins with none of the phrases of ``words``."""
    return all(text.words[: len(words_of(phrase))] != words_of(phrase) for phrase in words)


def sentence_ends_with(text: Text, *, words: Sequence[str]) -> bool:
    """Some sentence of the answer ends with one of the phrases of ``words`` and is more than that phrase."""
    ends = [words_of(phrase) for phrase in words]
    return any(s[-len(e) :] == e and len(s) > len(e) for s in text.sentences for e in ends if e)


def ends_with(text: Text, *, words: Sequence[str], once: bool = False) -> bool:
    """The last sentence is exactly one of the phrases of ``words`` or ends with it, with a closing mark.

    With ``once`` the phrases of ``words`` may occur only once in the whole answer, so a pile of polite
    endings does not count.
    """
    last = text.sentences[-1]
    found = any(last[-len(words_of(phrase)) :] == words_of(phrase) for phrase in words)
    total = sum(count_phrase(text.words, phrase) for phrase in words)
    return found and bool(text.marks[-1]) and (total == 1 or not once)


def word_count(text: Text, *, min: int = 1, max: int, max_sentences: int | None = None) -> bool:
    """The answer has ``min`` to ``max`` words and, if given, at most ``max_sentences`` sentences."""
    few = max_sentences is None or len(text.sentences) <= max_sentences
    return min <= len(text.words) <= max and few


def item_count(text: Text, *, members: Sequence[str], count: int) -> bool:
    """Exactly ``count`` different phrases of ``members`` stand in the answer; naming all of them fails."""
    return sum(has_phrase(text.words, member) for member in members) == count


def distinct_items(text: Text, *, members: Sequence[str], most: int | None = None) -> bool:
    """Two or more of ``members`` are named, at most ``most`` of them, and no sentence names one twice."""
    named = sum(has_phrase(text.words, member) for member in members)
    once = all(count_phrase(s, member) <= 1 for s in text.sentences for member in members)
    return 2 <= named <= (most or named) and once


def repeats(text: Text, *, word: str, count: int) -> bool:
    """Some sentence has ``word`` exactly ``count`` times, and no sentence has it more often."""
    return max((count_phrase(s, word) for s in text.sentences), default=0) == count


def no_repeat(text: Text, *, run: int | None = 3) -> bool:
    """No sentence stands again, alone or inside another sentence, and no words are said twice in a row.

    Args:
        text: the answer.
        run: no ``run`` neighbouring words may stand twice in the answer, and no word directly after itself
            in a sentence; None where the prompt itself asks for a word many times.
    """
    sentences = text.sentences
    pairs = ((a, b) for i, a in enumerate(sentences) for j, b in enumerate(sentences) if i != j)
    if any(_count(a, b) for a, b in pairs):
        return False
    if run is None:
        return True
    windows = [text.words[i : i + run] for i in range(len(text.words) - run + 1)]
    stutter = any(a == b for s in sentences for a, b in pairwise(s))
    return len(set(windows)) == len(windows) and not stutter


def full_sentence(text: Text, *, verbs: Sequence[str], min_words: int = 4) -> bool:
    """Some sentence ends with ``.`` or ``!``, has ``min_words`` words or more, and has one of ``verbs``.

    At least half of that sentence's words must be different from each other.
    """
    return any(
        len(s) >= min_words
        and mark[:1] in (".", "!")
        and 2 * len(set(s)) >= len(s)
        and any(has_phrase(s, verb) for verb in verbs)
        for s, mark in zip(text.sentences, text.marks, strict=True)
    )


KINDS: dict[str, Callable[..., bool]] = {
    check.__name__: check
    for check in (
        contains_all,
        contains_any,
        contains_none,
        starts_with,
        starts_with_none,
        sentence_ends_with,
        ends_with,
        word_count,
        item_count,
        distinct_items,
        repeats,
        no_repeat,
        full_sentence,
    )
}
"""Every kind of check by its name; the item's other keys are the check's keyword arguments."""


def _satisfied(text: Text, item: Mapping[str, Any]) -> bool:
    """Say whether ``text`` satisfies one check item, common parameters included."""
    kind = item.get("kind")
    if kind not in KINDS:
        raise ConfigError("unknown kind of check", expected=f"one of {', '.join(sorted(KINDS))}", got=repr(kind))
    params = {key: value for key, value in item.items() if key not in _COMMON}
    if not text.sentences or len(text.words) < item.get("at_least", 1):
        return False
    if "about" in item:
        named = sum(has_phrase(text.words, phrase) for phrase in item["about"])
        if not 1 <= named <= item.get("about_most", named):
            return False
    if "unless" in item and contains_any(text, words=item["unless"]):
        return False
    try:
        return KINDS[kind](text, **params)
    except TypeError as error:
        raise ConfigError(f"check {kind} has wrong parameters", got=str(error)) from error


def explain(answer: str, checks: Mapping[str, Any]) -> list[tuple[str, float, bool]]:
    """Judge each check item of one answer by itself.

    Args:
        answer: the answer's text, without the prompt.
        checks: ``{"references": [...], "items": [{"kind": ..., "weight": ..., ...}]}``.

    Returns:
        One ``(kind, weight, satisfied)`` for each item, in the order given.

    Raises:
        ConfigError: no items, an unknown kind, wrong parameters, or a weight that is not above zero.
    """
    items = checks.get("items") or []
    if not items:
        raise ConfigError("checks without items", expected="at least one item", got=repr(checks))
    text = Text.of(answer)
    result = []
    for item in items:
        weight = float(item.get("weight", 1.0))
        if not 0.0 < weight < float("inf"):
            raise ConfigError("weight of a check", expected="a finite number above 0", got=repr(weight))
        result.append((str(item.get("kind")), weight, _satisfied(text, item)))
    return result


def score_answer(answer: str, checks: Mapping[str, Any]) -> float:
    """Return the weighted share of satisfied check items, in [0, 1].

    Args:
        answer: the answer's text, without the prompt.
        checks: as for :func:`explain`.

    Returns:
        Sum of the weights of satisfied items over the sum of all weights; 1.0 is a perfect answer.

    Raises:
        ConfigError: as :func:`explain`.
    """
    judged = explain(answer, checks)
    if all(satisfied for _, _, satisfied in judged):
        return 1.0
    return sum(weight for _, weight, satisfied in judged if satisfied) / sum(weight for _, weight, _ in judged)
