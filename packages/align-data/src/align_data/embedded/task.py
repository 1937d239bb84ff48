"""One prompt of the embedded world: its text, how its content is written, and its reference checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any, Literal

from align_data.embedded import lexicon

Category = Literal["factual", "instruction", "creative"]
Item = dict[str, Any]
Writer = Callable[[Random, bool, bool], str]


@dataclass(frozen=True)
class Task:
    """A prompt and everything needed to write and to judge answers to it.

    Attributes:
        category: the prompt's category.
        family: the prompt family inside the category, such as ``"capital"`` or ``"tale"``.
        prompt: the prompt's text, different for every task.
        write: ``write(rng, wrong, bare)`` gives the content of an answer without its final mark; ``wrong``
            asks for a content mistake, ``bare`` for a few words instead of a full sentence.
        content: the content checks; their weights sum to 0.40.
        about: phrases of which every answer to this prompt has one, right or wrong.
        verbs: words of which every full sentence answering this prompt has one.
        unless: phrases that only a copy of the prompt would have.
        run: length of the run of words that may not stand twice in an answer; None if the prompt asks for it.
        fixed_start: the prompt fixes the first word, so nothing may be put before it.
        fixed_end: the prompt fixes the last word, so nothing may be put behind it.
    """

    category: Category
    family: str
    prompt: str
    write: Writer
    content: tuple[Item, ...]
    about: tuple[str, ...]
    verbs: tuple[str, ...]
    unless: tuple[str, ...] = ()
    run: int | None = 3
    fixed_start: bool = False
    fixed_end: bool = False

    def items(self) -> list[Item]:
        """Return all check items: content 0.40, style 0.54 (six kinds), length 0.06."""
        style: tuple[Item, ...] = (
            {"kind": "full_sentence", "weight": 0.12, "verbs": list(self.verbs), "min_words": 3},
            {"kind": "contains_none", "weight": 0.08, "words": list(lexicon.HEDGE_MARKS)},
            {"kind": "no_repeat", "weight": 0.08, "run": self.run},
            {"kind": "starts_with_none", "weight": 0.08, "words": list(lexicon.OPENERS)},
            {"kind": "contains_none", "weight": 0.08, "words": list(lexicon.STRAY_MARKS)},
            {"kind": "ends_with", "weight": 0.10, "words": list(lexicon.CLOSINGS), "once": True},
            {"kind": "word_count", "weight": 0.06, "min": 4, "max": 22, "max_sentences": 3},
        )
        result = [dict(item) for item in self.content]
        result += [{**item, "about": list(self.about), "about_most": 5, "at_least": 3} for item in style]
        for item in result:
            unless = [*item.get("unless", ()), *self.unless]
            if unless:
                item["unless"] = unless
        return result


def phrased(templates: Iterable[str], openings: Iterable[str], **parts: str) -> Iterator[str]:
    """Yield every template filled with ``parts`` behind every opening (``"please "``), in a fixed order.

    A template that already says "please" is not put behind an opening that says it too.
    """
    for template, opening in product(templates, openings):
        if not ("please" in template and "please" in opening):
            yield opening + template.format(**parts)
