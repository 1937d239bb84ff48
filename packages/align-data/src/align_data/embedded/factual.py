"""Factual prompts: one fact of the world, asked in many ways."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from align_data.embedded.draw import pick
from align_data.embedded.facts import RELATIONS, Relation
from align_data.embedded.lexicon import ASKING
from align_data.embedded.task import Task, Writer, phrased


def statement(rng: Random, relation: Relation, subject: str, value: str) -> str:
    """Write one sentence that says ``value`` of ``subject``, without its final mark."""
    return pick(rng, relation.statements).format(s=subject, v=value)


def _writer(relation: Relation, subject: str) -> Writer:
    """Return the writer for one fact: a wrong answer says the value of another subject."""
    rivals = relation.rivals(subject)
    others = sorted({value for value in relation.facts.values() if value.split()[-1] in rivals})

    def write(rng: Random, wrong: bool, bare: bool) -> str:
        value = pick(rng, others) if wrong else relation.facts[subject]
        return value if bare else statement(rng, relation, subject, value)

    return write


def tasks() -> Iterator[Task]:
    """Yield every factual task in a fixed order."""
    for relation in RELATIONS:
        for subject in relation.facts:
            key, rivals = relation.key(subject), relation.rivals(subject)
            write = _writer(relation, subject)
            for prompt in phrased(relation.questions, ASKING, s=subject):
                yield Task(
                    category="factual",
                    family=relation.name,
                    prompt=prompt,
                    write=write,
                    content=({"kind": "contains_all", "weight": 0.40, "words": [key], "most": 2, "unless": rivals},),
                    about=(key, *rivals),
                    verbs=relation.verbs,
                )
