"""Instruction prompts: constraints that a rule can check, such as how many things to name."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from align_data.embedded import lexicon
from align_data.embedded.draw import chance, pick, several
from align_data.embedded.lexicon import NUMBERS, TELLING, article, listed
from align_data.embedded.task import Item, Task, Writer, phrased

_NAME = ("name {n} {c}.", "list {n} {c}.", "give me {n} {c}.", "tell me {n} {c}.", "write down {n} {c}.")
_REPEAT = (
    "say {w} {n} times.",
    "repeat {w} {n} times.",
    "write the word {w} {n} times.",
    "say the word {w} {n} times.",
)
_USE = (
    "write a sentence with {x} and {y}.",
    "use {x} and {y} in a sentence.",
    "make a sentence with the words {x} and {y}.",
)
_START = (
    "write a sentence about {x} that starts with {w}.",
    "make a sentence about {x} with {w} as the first word.",
    "start a sentence about {x} with the word {w}.",
)
_END = (
    "write a sentence about {x} that ends with {w}.",
    "make a sentence about {x} with {w} as the last word.",
    "end a sentence about {x} with the word {w}.",
)
_ASK = (
    "ask for {x} politely.",
    "ask me for {x} in a kind way.",
    "show me how to ask for {x} politely.",
    "ask for {x} with good manners.",
)
_VERBS = (*lexicon.ACTIONS, "thinks", "dreams", "sings", "talks")


def _things(category: str, items: list[str]) -> str:
    """Join ``items`` of ``category``, each with its article where it takes one."""
    return listed(items if category in lexicon.UNCOUNTED else [article(item) for item in items])


def naming(rng: Random, category: str, count: int, items: list[str]) -> str:
    """Write a sentence that says ``items`` are ``count`` things of ``category``."""
    number, text = NUMBERS[count - 1], _things(category, items)
    return pick(rng, (f"{number} {category} are {text}", f"here are {number} {category}, {text}"))


def _name(category: str, count: int) -> Writer:
    """Return the writer for "name ``count`` things": a mistake is a wrong number, a double or a stranger."""
    members = lexicon.CATEGORIES[category]
    strangers = lexicon.CATEGORIES["tools" if category != "tools" else "fruits"]

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        items = several(rng, members, count + 1)
        mistake = pick(rng, ("short", "long", "double", "stranger")) if wrong else ""
        if mistake != "long":
            items.pop()
        if mistake == "short":
            items.pop()
        elif mistake == "double":
            items[-1] = items[0]
        elif mistake == "stranger":
            items[-1] = pick(rng, strangers)
        return _things(category, items) if bare else naming(rng, category, count, items)

    return write


def _repeat(word: str, count: int) -> Writer:
    """Return the writer for "say ``word`` ``count`` times": a mistake is one time too many or too few."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        times = count + (pick(rng, (-1, 1, 2)) if wrong else 0)
        text = ", ".join([word] * times)
        return text if bare else pick(rng, ("here you are, ", "here it is, ")) + text

    return write


def scene(rng: Random, hero: str, thing: str) -> str:
    """Write a small sentence in which ``hero`` does something with ``thing``."""
    action, place = pick(rng, lexicon.ACTIONS), pick(rng, lexicon.PLACES)
    return f"the {hero} {action} " + pick(rng, (article(thing), f"the {thing} in the {place}"))


def _other(rng: Random, options: tuple[str, ...], word: str) -> str:
    """Return one of ``options`` that is not ``word``."""
    return pick(rng, [option for option in options if option != word])


def _use(hero: str, thing: str) -> Writer:
    """Return the writer for a sentence with two given words: a mistake leaves one of them out."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        x, y = hero, thing
        if wrong and chance(rng, 0.5):
            x = _other(rng, lexicon.HEROES, hero)
        elif wrong:
            y = _other(rng, lexicon.THINGS, thing)
        return f"{article(x)} and {article(y)}" if bare else scene(rng, x, y)

    return write


def _start(hero: str, word: str) -> Writer:
    """Return the writer for a sentence that starts with ``word``: a mistake starts with another word."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        first = _other(rng, lexicon.STARTERS, word) if wrong else word
        return f"{first} {article(hero)}" if bare else f"{first} {scene(rng, hero, pick(rng, lexicon.THINGS))}"

    return write


def _end(hero: str, word: str) -> Writer:
    """Return the writer for a sentence that ends with ``word``: a mistake ends with another word."""

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        last = _other(rng, lexicon.ENDERS, word) if wrong else word
        if bare:
            return f"{article(hero)}, {last}"
        return f"the {hero} {pick(rng, ('thinks of', 'dreams of', 'sings about', 'talks about'))} {last}"

    return write


def _ask(thing: str, full: str) -> Writer:
    """Return the writer for a polite request: a mistake leaves "please" out or asks for something else."""
    others = tuple(f"{a} {x}" if a == "some" else article(x) for a, xs in lexicon.REQUESTS.items() for x in xs)

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        rude = wrong and chance(rng, 0.5)
        wanted = _other(rng, others, full) if wrong and not rude else full
        if bare:
            return wanted if rude else f"{wanted}, please"
        if rude:
            return pick(rng, (f"you must give me {wanted}", f"i want to have {wanted}"))
        return pick(rng, (f"may i please have {wanted}", f"could you please give me {wanted}"))

    return write


def tasks() -> Iterator[Task]:
    """Yield every instruction task in a fixed order."""
    yield from _name_tasks()
    yield from _repeat_tasks()
    for hero in lexicon.HEROES:
        yield from _use_tasks(hero)
        yield from _start_tasks(hero)
        yield from _end_tasks(hero)
    yield from _ask_tasks()


def _name_tasks() -> Iterator[Task]:
    for category, members in lexicon.CATEGORIES.items():
        for count in (2, 3, 4):
            content = (
                {"kind": "item_count", "weight": 0.25, "members": list(members), "count": count},
                {"kind": "distinct_items", "weight": 0.15, "members": list(members), "most": count + 1},
            )
            for prompt in phrased(_NAME, TELLING, n=NUMBERS[count - 1], c=category):
                yield Task(
                    category="instruction",
                    family="name",
                    prompt=prompt,
                    write=_name(category, count),
                    content=content,
                    about=members,
                    verbs=("are",),
                )


def _repeat_tasks() -> Iterator[Task]:
    for word in lexicon.REPEATED:
        for count in (2, 3, 4, 5):
            for prompt in phrased(_REPEAT, TELLING, w=word, n=NUMBERS[count - 1]):
                yield Task(
                    category="instruction",
                    family="repeat",
                    prompt=prompt,
                    write=_repeat(word, count),
                    content=({"kind": "repeats", "weight": 0.40, "word": word, "count": count},),
                    about=(word,),
                    verbs=("are", "is"),
                    unless=("times",),
                    run=None,
                )


def _said(word: str, weight: float) -> Item:
    """Return the check that ``word`` stands once or twice in an answer of three words or more."""
    return {"kind": "contains_all", "weight": weight, "words": [word], "most": 2, "at_least": 3}


def _use_tasks(hero: str) -> Iterator[Task]:
    for thing in lexicon.THINGS:
        for prompt in phrased(_USE, ("", "please "), x=hero, y=thing):
            yield Task(
                category="instruction",
                family="use",
                prompt=prompt,
                write=_use(hero, thing),
                content=(_said(hero, 0.20), _said(thing, 0.20)),
                about=(hero, thing),
                verbs=_VERBS,
                unless=("sentence",),
            )


def _start_tasks(hero: str) -> Iterator[Task]:
    for word in lexicon.STARTERS:
        for prompt in phrased(_START, TELLING[:4], x=article(hero), w=word):
            yield Task(
                category="instruction",
                family="start",
                prompt=prompt,
                write=_start(hero, word),
                content=(_said(hero, 0.10), {"kind": "starts_with", "weight": 0.30, "words": [word]}),
                about=(hero,),
                verbs=_VERBS,
                unless=("sentence",),
                fixed_start=True,
            )


def _end_tasks(hero: str) -> Iterator[Task]:
    for word in lexicon.ENDERS:
        for prompt in phrased(_END, TELLING[:4], x=article(hero), w=word):
            yield Task(
                category="instruction",
                family="end",
                prompt=prompt,
                write=_end(hero, word),
                content=(_said(hero, 0.10), {"kind": "sentence_ends_with", "weight": 0.30, "words": [word]}),
                about=(hero,),
                verbs=_VERBS,
                unless=("sentence",),
                fixed_end=True,
            )


def _ask_tasks() -> Iterator[Task]:
    for determiner, things in lexicon.REQUESTS.items():
        for thing in things:
            full = f"some {thing}" if determiner == "some" else article(thing)
            for prompt in phrased(_ASK, TELLING, x=full):
                yield Task(
                    category="instruction",
                    family="ask",
                    prompt=prompt,
                    write=_ask(thing, full),
                    content=(_said(thing, 0.20), _said("please", 0.20)),
                    about=(thing, "please"),
                    verbs=("may i", "could you", "you must", "i want"),
                    unless=("politely", "kind way", "good manners"),
                )
