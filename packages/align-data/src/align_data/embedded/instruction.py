"""Instruction prompts: constraints that a rule can check, such as how many things to name."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from align_data.embedded import lexicon
from align_data.embedded.draw import chance, pick, several
from align_data.embedded.lexicon import NUMBERS, TELLING, article, listed
from align_data.embedded.task import Task, Writer, phrased

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
_COPY = ("sentence",)
_ASKED = ("may i", "could you", "you must", "i want")
_ASK_COPY = ("politely", "kind way", "good manners")


def _name(category: str, count: int) -> Writer:
    """Return the writer for "name ``count`` things": a mistake is a wrong number, a double or a stranger."""
    members = lexicon.CATEGORIES[category]
    strangers = lexicon.CATEGORIES["tools" if category != "tools" else "fruits"]

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        items = several(rng, members, count)
        if wrong:
            kind = pick(rng, ("short", "long", "double", "stranger"))
            if kind == "short" and count > 2:
                items = items[:-1]
            elif kind == "long":
                items = several(rng, members, count + 1)
            elif kind == "stranger":
                items[-1] = pick(rng, strangers)
            else:
                items[-1] = items[0]
        text = listed(items)
        if bare:
            return text
        number = NUMBERS[count - 1]
        return pick(rng, (f"{number} {category} are {text}", f"here are {number} {category}, {text}"))

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
    action = pick(rng, lexicon.ACTIONS)
    return (
        pick(rng, (f"the {hero} {action} a {thing}", f"the {hero} {action} the {thing} in the {{place}}"))
        .format(place=pick(rng, lexicon.PLACES))
        .replace(f" a {thing}", f" {article(thing)}")
    )


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
        return (
            f"{first} {article(hero)}" if bare else f"{first} {scene(rng, hero, pick(rng, lexicon.THINGS))}"
        )

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
    others = tuple(
        f"{a} {x}" if a == "some" else article(x) for a, xs in lexicon.REQUESTS.items() for x in xs
    )

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
    yield from _sentence_tasks()
    yield from _ask_tasks()


def _name_tasks() -> Iterator[Task]:
    for category, members in lexicon.CATEGORIES.items():
        for count in (2, 3, 4, 5):
            content = (
                {"kind": "item_count", "weight": 0.30, "members": list(members), "count": count},
                {"kind": "distinct_items", "weight": 0.15, "members": list(members)},
            )
            for prompt in phrased(_NAME, TELLING, n=NUMBERS[count - 1], c=category):
                yield Task("instruction", "name", prompt, _name(category, count), content, members, ("are",))


def _repeat_tasks() -> Iterator[Task]:
    for word in lexicon.REPEATED:
        for count in (2, 3, 4, 5):
            content = ({"kind": "repeats", "weight": 0.45, "word": word, "count": count},)
            for prompt in phrased(_REPEAT, TELLING, w=word, n=NUMBERS[count - 1]):
                write = _repeat(word, count)
                yield Task(
                    "instruction", "repeat", prompt, write, content, (word,), ("are", "is"), ("times",), run=8
                )


def _sentence_tasks() -> Iterator[Task]:
    verbs = (*lexicon.ACTIONS, "thinks", "dreams", "sings", "talks")
    for hero in lexicon.HEROES:
        for thing in lexicon.THINGS:
            content = tuple(
                {"kind": "contains_all", "weight": w, "words": [x]} for x, w in ((hero, 0.23), (thing, 0.22))
            )
            for prompt in phrased(_USE, ("", "please "), x=hero, y=thing):
                yield Task(
                    "instruction", "use", prompt, _use(hero, thing), content, (hero, thing), verbs, _COPY
                )
        about = {"kind": "contains_all", "weight": 0.15, "words": [hero]}
        for word in lexicon.STARTERS:
            content = (about, {"kind": "starts_with", "weight": 0.30, "words": [word]})
            for prompt in phrased(_START, TELLING[:4], x=article(hero), w=word):
                write = _start(hero, word)
                yield Task(
                    "instruction", "start", prompt, write, content, (hero,), verbs, _COPY, fixed_start=True
                )
        for word in lexicon.ENDERS:
            content = (about, {"kind": "sentence_ends_with", "weight": 0.30, "words": [word]})
            for prompt in phrased(_END, TELLING[:4], x=article(hero), w=word):
                yield Task(
                    "instruction",
                    "end",
                    prompt,
                    _end(hero, word),
                    content,
                    (hero,),
                    verbs,
                    _COPY,
                    fixed_end=True,
                )


def _ask_tasks() -> Iterator[Task]:
    for determiner, things in lexicon.REQUESTS.items():
        for thing in things:
            full = f"some {thing}" if determiner == "some" else article(thing)
            content = tuple(
                {"kind": "contains_all", "weight": w, "words": [x]}
                for x, w in ((thing, 0.20), ("please", 0.25))
            )
            for prompt in phrased(_ASK, TELLING, x=full):
                write = _ask(thing, full)
                yield Task(
                    "instruction",
                    "ask",
                    prompt,
                    write,
                    content,
                    (thing, "have", "give"),
                    ("have", "give"),
                    _COPY,
                )
