"""Creative prompts: one-line tales, two-part rhymes and wishes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from align_data.embedded import lexicon
from align_data.embedded.draw import pick
from align_data.embedded.lexicon import TELLING, article
from align_data.embedded.task import Task, Writer, phrased

_TALE = (
    "tell a tale about {x} in a {p}.",
    "write a line about {x} in a {p}.",
    "make up a tale of {x} in a {p}.",
    "tell me a short tale of {x} and a {p}.",
)
_RHYME = (
    "make a rhyme with {w}.",
    "write a rhyme about {x}.",
    "make a short rhyme on the word {w}.",
    "write a small poem with {w} in it.",
    "make me a poem about {x}.",
    "rhyme with {w}, it is for a song.",
)
_WISH = (
    "write a {o} wish for my {p}.",
    "make a {o} wish for my {p}.",
    "write a card to my {p} for the {o}.",
    "say something nice to my {p} for the {o}.",
)
_ONCE = ("one day", "one night", "long ago", "once")


def _other(rng: Random, options: tuple[str, ...], word: str) -> str:
    """Return one of ``options`` that is not ``word``."""
    return pick(rng, [option for option in options if option != word])


def tale(rng: Random, hero: str, place: str) -> str:
    """Write a one-line tale of ``hero`` in ``place``, with its "once", without the final mark."""
    return f"{pick(rng, _ONCE)} {_plain_tale(rng, hero, place)}"


def _plain_tale(rng: Random, hero: str, place: str) -> str:
    """Write a tale without its "once"."""
    who = article(f"{pick(rng, lexicon.ADJECTIVES)} {hero}")
    return f"{who} {pick(rng, lexicon.DEEDS)} in the {place} {pick(rng, lexicon.MOODS)}"


def _tale(hero: str, place: str) -> Writer:
    """Return the writer of a tale: a mistake is another hero, another place, or no "once"."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        who, where = hero, place
        mistake = pick(rng, ("who", "where", "once")) if wrong else ""
        if mistake == "who":
            who = _other(rng, lexicon.HEROES, hero)
        elif mistake == "where":
            where = _other(rng, lexicon.PLACES, place)
        if bare:
            return f"{article(who)} in a {where}" if mistake == "once" else f"once {article(who)} in a {where}"
        return _plain_tale(rng, who, where) if mistake == "once" else tale(rng, who, where)

    return write


def couplet(rng: Random, first: str, second: str) -> str:
    """Write two short parts, one ending with each word."""
    pattern = pick(
        rng,
        (
            "i saw {x}, it was near {y}",
            "here is my {first}, and there is {y}",
            "once there was {x}, it was under {y}",
            "look, there is {x}, and it is with {y}",
        ),
    )
    return pattern.format(x=article(first), y=article(second), first=first)


def _rhyme(word: str, partners: tuple[str, ...]) -> Writer:
    """Return the writer of a rhyme: a mistake ends with a word that does not rhyme."""
    others = tuple(w for group in lexicon.RHYMES if word not in group for w in group)

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        last = pick(rng, others if wrong else partners)
        return f"{word}, {last}" if bare else couplet(rng, word, last)

    return write


def wish(rng: Random, person: str, occasion: str) -> str:
    """Write a wish to ``person`` for ``occasion``."""
    start = pick(rng, (f"may your {occasion} be", f"i wish you a {occasion}"))
    return f"dear {person}, {start} {pick(rng, lexicon.JOYS)}"


def _wish(person: str, occasion: str) -> Writer:
    """Return the writer of a wish: a mistake is another person, another occasion, or a plain remark."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        who, what = person, occasion
        mistake = pick(rng, ("who", "what", "remark")) if wrong else ""
        if mistake == "who":
            who = _other(rng, lexicon.PERSONS, person)
        elif mistake == "what":
            what = _other(rng, lexicon.OCCASIONS, occasion)
        if mistake == "remark":
            return f"{who}, {what}" if bare else f"dear {who}, your {what} is {pick(rng, lexicon.JOYS)}"
        return f"happy {what}, {who}" if bare else wish(rng, who, what)

    return write


def tasks() -> Iterator[Task]:
    """Yield every creative task in a fixed order."""
    yield from _tale_tasks()
    yield from _rhyme_tasks()
    yield from _wish_tasks()


def _tale_tasks() -> Iterator[Task]:
    for hero in lexicon.HEROES:
        for place in lexicon.PLACES:
            content = (
                {"kind": "contains_all", "weight": 0.13, "words": [hero], "most": 2, "at_least": 3},
                {"kind": "contains_all", "weight": 0.13, "words": [place], "most": 2, "at_least": 3},
                {"kind": "starts_with", "weight": 0.14, "words": list(_ONCE)},
            )
            for prompt in phrased(_TALE, TELLING[:4], x=article(hero), p=place):
                yield Task(
                    category="creative",
                    family="tale",
                    prompt=prompt,
                    write=_tale(hero, place),
                    content=content,
                    about=(hero, place),
                    verbs=lexicon.DEEDS,
                    unless=("tale", "line"),
                    fixed_start=True,
                )


def _rhyme_tasks() -> Iterator[Task]:
    for group in lexicon.RHYMES:
        for word in group:
            partners = tuple(other for other in group if other != word)
            content = (
                {"kind": "contains_all", "weight": 0.12, "words": [word], "most": 2, "at_least": 3},
                {"kind": "sentence_ends_with", "weight": 0.28, "words": list(partners)},
            )
            for prompt in phrased(_RHYME, TELLING, w=word, x=article(word)):
                yield Task(
                    category="creative",
                    family="rhyme",
                    prompt=prompt,
                    write=_rhyme(word, partners),
                    content=content,
                    about=(word,),
                    verbs=("saw", "is", "was"),
                    unless=("rhyme", "poem", "song"),
                    fixed_end=True,
                )


def _wish_tasks() -> Iterator[Task]:
    for person in lexicon.PERSONS:
        for occasion in lexicon.OCCASIONS:
            content = (
                {"kind": "contains_all", "weight": 0.13, "words": [person], "most": 2, "at_least": 3},
                {"kind": "contains_all", "weight": 0.13, "words": [occasion], "most": 2, "at_least": 3},
                {
                    "kind": "contains_any",
                    "weight": 0.15,
                    "words": ["may your", "i wish you", f"happy {occasion}"],
                },
            )
            for prompt in phrased(_WISH, TELLING, o=occasion, p=person):
                yield Task(
                    category="creative",
                    family="wish",
                    prompt=prompt,
                    write=_wish(person, occasion),
                    content=content,
                    about=(person, occasion),
                    verbs=("may", "i wish", "is"),
                    unless=("my",),
                )
