"""The words of the embedded world: small closed lists that every family of prompts draws from."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    """Read a list of words written in one string."""
    return tuple(text.split())


NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
"""Number words; ``NUMBERS[n - 1]`` is n."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    "animals": _words("cat dog cow sheep horse pig duck owl lion frog mouse wolf fox bear goat"),
    "colours": _words("red blue green yellow white black pink brown grey purple"),
    "fruits": _words("apple pear plum cherry lemon grape melon fig peach banana"),
    "toys": _words("kite ball doll drum puzzle train robot rattle marble balloon"),
    "tools": _words("hammer saw spade brush rope nail ladder axe bucket broom"),
    "clothes": _words("hat coat sock shoe scarf glove shirt belt dress cap"),
    "drinks": _words("milk tea juice water cocoa cider lemonade soda coffee"),
    "instruments": _words("piano flute violin harp guitar horn bell trumpet cello"),
    "trees": _words("oak pine birch maple willow elm palm cedar ash"),
    "days": _words("monday tuesday wednesday thursday friday saturday sunday"),
    "planets": _words("mars venus saturn jupiter earth mercury neptune"),
    "birds": _words("robin swan crow eagle sparrow parrot hawk stork"),
}
"""Things that a list prompt may ask for; no word belongs to two categories."""

UNCOUNTED = ("colours", "drinks", "days", "planets")
"""Categories whose things take no article."""

HEROES = _words(
    "fox cat bear mouse owl frog rabbit wolf goat hen king queen baker robot dragon pirate wizard sailor snail duck"
)
"""Who tales and sentences are about."""

PLACES = _words(
    "garden forest castle kitchen river valley city village desert market library harbour tower meadow cave school"
)
"""Where tales happen."""

THINGS = _words("kite drum lantern apple hat key rope bell book boat coin map cake flower letter feather")
"""What heroes find, lose and carry."""

ADJECTIVES = _words("little brave sleepy clever kind tiny happy shy")
"""What heroes are like."""

ACTIONS = _words("found lost hid painted carried sold")
"""What heroes do with things."""

DEEDS = _words("danced sang slept played dreamed laughed")
"""What heroes do in tales."""

MOODS = ("all night", "with a friend", "under the stars", "in the rain", "until morning")
"""How they do it."""

STARTERS = _words("today yesterday sometimes now soon often later here")
"""Words that a sentence may be asked to start with."""

ENDERS = _words("moon home snow music dinner winter light water grass gold")
"""Words that a sentence may be asked to end with."""

REPEATED = _words(
    "star moon rain apple river jump hello peace bubble yes snow sun drum honey banana cloud tick hop cake sea"
)
"""Words that a prompt may ask to repeat."""

REQUESTS: dict[str, tuple[str, ...]] = {
    "some": _words("bread butter soup cheese milk tea paper salt honey water"),
    "a": _words("pen chair spoon blanket pillow ticket cup plate towel map candle stamp"),
}
"""Things to ask for politely, by article."""

PERSONS = _words("sister brother mother father teacher friend neighbour grandmother grandfather aunt uncle cousin")
"""Whom wishes are for."""

OCCASIONS = _words("birthday trip wedding holiday party picnic concert winter summer weekend")
"""What wishes are for."""

JOYS = ("full of joy", "bright and merry", "warm and sweet", "full of laughter", "calm and lovely")
"""What is wished."""

RHYMES: tuple[tuple[str, ...], ...] = tuple(
    _words(group)
    for group in (
        "cat hat mat",
        "moon spoon balloon",
        "star jar car",
        "bee tree key",
        "fox box",
        "bear chair pear",
        "mouse house",
        "goat boat coat",
        "snail pail tail",
        "dog frog log",
        "cake lake snake",
        "ring king wing",
        "duck truck",
        "hen pen",
        "train chain",
        "bug rug mug",
        "pig wig",
        "rose nose",
        "clock sock rock",
        "book hook cook",
        "bell shell",
        "fish dish",
    )
)
"""Words that rhyme with each other, and with no word of another group."""

CLOSINGS = ("i hope that helps", "have a lovely day", "ask me any time", "happy to help", "take care")
"""Polite endings; a good answer has one of them as its last sentence."""

HEDGES_BEFORE = ("well, i think maybe", "i guess", "not sure, but perhaps")
"""Vague words in front of a sentence."""

HEDGES_AFTER = ("i guess", "or something like that", "but who knows")
"""Vague words behind a sentence."""

HEDGE_MARKS = ("maybe", "i think", "i guess", "perhaps", "not sure", "something like that", "who knows")
"""Phrases that give a hedge away."""

OPENERS = ("ugh", "whatever", "oh no, not again", "fine", "huh")
"""Unfriendly ways to begin."""

STRAYS = (
    "by the way, the bus stopped",
    "by the way, the shop closed",
    "anyway, both knees hurt",
    "anyway, nobody called",
    "speaking of which, the lamp broke",
)
"""Sentences that have nothing to do with any prompt."""

STRAY_MARKS = ("by the way", "anyway", "speaking of which")
"""Phrases that give a stray sentence away."""

ASKING = (
    "",
    "hello, ",
    "quick question, ",
    "my friend asks, ",
    "please tell me, ",
    "i wonder, ",
    "dear helper, ",
)
"""What may stand before a question."""

TELLING = ("", "hello, ", "please ", "dear helper, ", "next task, ", "when you can, ", "now ")
"""What may stand before a command."""


def article(noun: str) -> str:
    """Return ``noun`` with its indefinite article: ``"an owl"``, ``"a fox"``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def listed(items: list[str]) -> str:
    """Join ``items`` as a person would: ``"cat, dog and cow"``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
