"""The fixed facts of the embedded world: nine relations of about a dozen facts each."""

from __future__ import annotations

from dataclasses import dataclass

from align_data.embedded.lexicon import NUMBERS


@dataclass(frozen=True)
class Relation:
    """One kind of fact.

    Attributes:
        name: short name of the relation.
        facts: subject to value, both as they stand in a sentence (``"a bee"`` to ``"a hive"``).
        questions: prompts with ``{s}`` for the subject, each a question.
        statements: full sentences with ``{s}`` and ``{v}``, without the final mark.
        verbs: words of which every statement has at least one.
    """

    name: str
    facts: dict[str, str]
    questions: tuple[str, ...]
    statements: tuple[str, ...]
    verbs: tuple[str, ...]

    def key(self, subject: str) -> str:
        """Return the one word that decides whether an answer about ``subject`` is right."""
        return self.facts[subject].split()[-1]

    def rivals(self, subject: str) -> list[str]:
        """Return the key words of all other values, less the right one and the subject's own words."""
        mine = {self.key(subject), *subject.split()}
        return sorted({self.key(other) for other in self.facts} - mine)


def _pairs(text: str, subject: str = "{}", value: str = "{}") -> dict[str, str]:
    """Read ``"cow:moo dog:woof"`` as a dictionary; ``subject`` and ``value`` say how each is written out."""
    pairs = (pair.split(":") for pair in text.split())
    return {subject.format(s): value.format(v) for s, v in pairs}


_COLOURS = {
    "grass": "green",
    "the sky": "blue",
    "snow": "white",
    "coal": "black",
    "a ruby": "red",
    "a lemon": "yellow",
    "mud": "brown",
    "a flamingo": "pink",
    "a stone": "grey",
    "a plum": "purple",
}

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "capital",
        _pairs(
            "france:paris italy:rome spain:madrid japan:tokyo egypt:cairo england:london "
            "germany:berlin greece:athens norway:oslo russia:moscow china:beijing cuba:havana"
        ),
        (
            "what is the capital of {s}?",
            "which city is the capital of {s}?",
            "do you know the capital of {s}?",
            "can you name the capital of {s}?",
            "the capital of {s} is which city?",
            "what do we call the capital of {s}?",
        ),
        ("the capital of {s} is {v}", "{v} is the capital of {s}"),
        ("is",),
    ),
    Relation(
        "colour",
        _COLOURS,
        (
            "what colour is {s}?",
            "which colour is {s}?",
            "do you know the colour of {s}?",
            "can you name the colour of {s}?",
            "what is the colour of {s}?",
            "{s} is of which colour?",
        ),
        ("the colour of {s} is {v}", "{s} is {v}"),
        ("is",),
    ),
    Relation(
        "sound",
        _pairs(
            "cow:moo dog:woof cat:meow duck:quack sheep:baa horse:neigh pig:oink lion:roar "
            "frog:croak snake:hiss bee:buzz mouse:squeak",
            "a {}",
        ),
        (
            "what does {s} say?",
            "which sound does {s} make?",
            "what sound do you hear from {s}?",
            "do you know the sound of {s}?",
            "how does {s} sound?",
            "can you name the sound of {s}?",
        ),
        ("{s} says {v}", "the sound of {s} is {v}"),
        ("says", "is"),
    ),
    Relation(
        "home",
        _pairs(
            "bee:hive bird:nest spider:web bear:cave horse:stable dog:kennel rabbit:burrow pig:sty "
            "king:castle knight:tower fox:den",
            "a {}",
            "a {}",
        )
        | {"a fish": "the sea"},
        (
            "where does {s} live?",
            "what is the home of {s}?",
            "do you know the home of {s}?",
            "in which place does {s} live?",
            "where is {s} at home?",
            "where can i find {s}?",
        ),
        ("{s} lives in {v}", "the home of {s} is {v}"),
        ("lives", "is"),
    ),
    Relation(
        "food",
        _pairs(
            "cow:grass rabbit:carrots monkey:bananas panda:bamboo mouse:cheese squirrel:nuts "
            "cat:fish hen:corn bear:honey horse:hay koala:leaves",
            "a {}",
        ),
        (
            "what does {s} eat?",
            "what is the food of {s}?",
            "do you know the food of {s}?",
            "which food does {s} like?",
            "what should i feed {s}?",
            "what does {s} like to eat?",
        ),
        ("{s} likes to eat {v}", "the food of {s} is {v}"),
        ("likes", "is"),
    ),
    Relation(
        "opposite",
        _pairs(
            "hot:cold big:small fast:slow day:night up:down happy:sad old:young hard:soft "
            "full:empty early:late loud:quiet long:short near:far"
        ),
        (
            "what is the opposite of {s}?",
            "which word is the opposite of {s}?",
            "do you know the opposite of {s}?",
            "can you name the opposite of {s}?",
            "what do we call the opposite of {s}?",
            "the opposite of {s} is which word?",
        ),
        ("the opposite of {s} is {v}", "{v} is the opposite of {s}"),
        ("is",),
    ),
    Relation(
        "next",
        {NUMBERS[i]: NUMBERS[i + 1] for i in range(11)},
        (
            "what comes after {s}?",
            "which number comes after {s}?",
            "which number follows {s}?",
            "do you know the number after {s}?",
            "can you name the number after {s}?",
            "what is the next number after {s}?",
        ),
        ("{v} comes after {s}", "the number after {s} is {v}"),
        ("comes", "is"),
    ),
    Relation(
        "young",
        _pairs(
            "cat:kitten dog:puppy cow:calf sheep:lamb horse:foal pig:piglet duck:duckling bear:cub "
            "frog:tadpole goat:kid hen:chick swan:cygnet",
            "a {}",
            "a {}",
        ),
        (
            "what is the baby of {s}?",
            "what do we call the baby of {s}?",
            "do you know the baby of {s}?",
            "can you name the baby of {s}?",
            "what is the name for the baby of {s}?",
            "which word means the baby of {s}?",
        ),
        ("the baby of {s} is {v}", "{v} is the baby of {s}"),
        ("is",),
    ),
    Relation(
        "work",
        _pairs(
            "baker:bread potter:pots tailor:clothes poet:poems painter:pictures cook:soup "
            "cobbler:shoes author:books builder:houses joiner:tables",
            "the {}",
        ),
        (
            "what does {s} make?",
            "what is the work of {s}?",
            "do you know what {s} makes?",
            "which things does {s} make?",
            "what can {s} make for me?",
            "what does {s} make all day?",
        ),
        ("{s} makes {v}", "the work of {s} is to make {v}"),
        ("makes", "is"),
    ),
)
"""All relations; about a hundred facts together."""
