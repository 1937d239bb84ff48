"""Authors: each writes answers with its own habits, good and bad.

An answer is put together from parts, and each flaw changes one part::

    [ugh,] [i guess] content [or something like that]. [content again.] [by the way, ...] [have a lovely day.]
     rude   hedge     wrong, bare                       echo             stray             (left out: abrupt)
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from align_data.embedded import lexicon
from align_data.embedded.draw import chance, pick
from align_data.embedded.task import Task

FLAWS = ("wrong", "bare", "hedge", "echo", "rude", "stray", "abrupt")
"""Every kind of flaw: one of content, then six of style."""


@dataclass(frozen=True)
class Author:
    """A writer of answers.

    Attributes:
        name: what we call this author.
        habits: probability of each flaw, independent of the others; a flaw not named never happens.
        moods: factors on all probabilities, one drawn for each answer.
    """

    name: str
    habits: dict[str, float]
    moods: tuple[float, ...] = (1.0,)


def _author(name: str, *probabilities: float, moods: tuple[float, ...] = (1.0,)) -> Author:
    """Make an author from its probabilities in the order of :data:`FLAWS`."""
    return Author(name, dict(zip(FLAWS, probabilities, strict=True)), moods)


AUTHORS = (
    #                   wrong bare hedge echo rude stray abrupt
    _author("careful", 0.35, 0.38, 0.38, 0.36, 0.36, 0.38, 0.38, moods=(0.1, 1.0, 1.0, 1.0)),
    _author("hasty", 0.50, 0.72, 0.44, 0.44, 0.56, 0.40, 0.66),
    _author("chatty", 0.50, 0.48, 0.68, 0.72, 0.40, 0.72, 0.46),
    _author("grumpy", 0.50, 0.56, 0.44, 0.44, 0.80, 0.50, 0.60),
    _author("dreamy", 0.60, 0.48, 0.72, 0.62, 0.40, 0.62, 0.50),
)
"""The authors of the embedded world, best first; careful has days on which everything goes well."""


@dataclass(frozen=True)
class Answer:
    """One answer and how it came about: its text, its author's name and its flaws in the order of FLAWS."""

    text: str
    author: str
    flaws: tuple[str, ...]


def answer(rng: Random, task: Task, author: Author) -> Answer:
    """Let ``author`` answer ``task``, with the flaws that this draw brings."""
    flaws = _flaws(rng, author)
    return Answer(compose(rng, task, flaws), author.name, tuple(flaw for flaw in FLAWS if flaw in flaws))


def style_flaws(rng: Random, author: Author) -> frozenset[str]:
    """Draw the flaws of an answer that ``author`` writes knowing what is right: of style, hardly ever of content."""
    flaws = _flaws(rng, author)
    return flaws if chance(rng, 0.05) else flaws - {"wrong"}


def _flaws(rng: Random, author: Author) -> frozenset[str]:
    """Draw the flaws of one answer, in a mood drawn first."""
    mood = pick(rng, author.moods)
    return frozenset(flaw for flaw in FLAWS if chance(rng, mood * author.habits.get(flaw, 0.0)))


def compose(rng: Random, task: Task, flaws: frozenset[str] | set[str]) -> str:
    """Write one answer to ``task`` with exactly the given ``flaws``; with none of them it is perfect."""
    content = task.write(rng, "wrong" in flaws, "bare" in flaws)
    first = _hedged(rng, task, content) if "hedge" in flaws else content
    if "rude" in flaws:
        first = f"{pick(rng, lexicon.OPENERS)}{'. ' if task.fixed_start else ', '}{first}"
    sentences = [first]
    if "echo" in flaws:
        sentences += [_echo(content)]
    if "stray" in flaws:
        sentences += [pick(rng, lexicon.STRAYS)]
    if "abrupt" not in flaws:
        sentences += [pick(rng, lexicon.CLOSINGS)]
    return " ".join(f"{sentence}." for sentence in sentences)


def _hedged(rng: Random, task: Task, content: str) -> str:
    """Put a hedge before or behind ``content``, where the prompt leaves room for it."""
    before = f"{pick(rng, lexicon.HEDGES_BEFORE)} {content}"
    behind = f"{content}, {pick(rng, lexicon.HEDGES_AFTER)}"
    if task.fixed_start:
        return behind
    return before if task.fixed_end or chance(rng, 0.5) else behind


def _echo(content: str) -> str:
    """Return ``content`` again: all of it if short, otherwise its last five words."""
    words = content.split()
    return content if len(words) <= 8 else " ".join(words[-5:])
