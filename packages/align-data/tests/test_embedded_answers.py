"""Answers of the embedded world against their own checks: perfect ones, flawed ones, and cheating."""

from itertools import pairwise
from random import Random

import pytest

from align_contracts.checks import explain, score_answer
from align_data.embedded import lexicon
from align_data.embedded.authors import AUTHORS, FLAWS, answer, compose
from align_data.embedded.draw import bell, chance, pick, several, shuffled
from align_data.embedded.facts import RELATIONS
from align_data.embedded.task import Task, phrased
from align_data.embedded.world import tasks

STYLE = tuple(flaw for flaw in FLAWS if flaw != "wrong")


@pytest.fixture(scope="module")
def some_tasks() -> list[Task]:
    """Every twelfth task: about a thousand, of all 18 families."""
    return list(tasks(5))[::12]


def checks_of(task: Task) -> dict:
    return {"references": [], "items": task.items()}


def test_weights_are_two_fifths_content_and_sum_to_one(some_tasks):
    for task in some_tasks:
        assert sum(item["weight"] for item in task.content) == pytest.approx(0.40)
        assert sum(item["weight"] for item in task.items()) == pytest.approx(1.0)


def test_an_answer_without_flaws_scores_exactly_one(some_tasks):
    rng = Random(1)
    for task in some_tasks:
        for _ in range(3):
            text = compose(rng, task, frozenset())
            assert score_answer(text, checks_of(task)) == 1.0, (task.prompt, text)


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_alone_costs_something(some_tasks, flaw):
    rng = Random(2)
    for task in some_tasks:
        text = compose(rng, task, {flaw})
        assert score_answer(text, checks_of(task)) < 0.95, (task.prompt, text)


@pytest.mark.parametrize("flaw", STYLE)
def test_a_style_flaw_leaves_the_content_right(some_tasks, flaw):
    rng = Random(3)
    for task in some_tasks:
        text = compose(rng, task, {flaw})
        content = explain(text, checks_of(task))[: len(task.content)]
        assert all(satisfied for _, _, satisfied in content), (task.prompt, text)


@pytest.mark.parametrize("flaw", STYLE)
def test_every_flaw_is_seen_among_all_the_others(some_tasks, flaw):
    # mending one flaw of a thoroughly bad answer must never lower the score
    for i, task in enumerate(some_tasks):
        bad = score_answer(compose(Random(i), task, set(STYLE)), checks_of(task))
        mended = score_answer(compose(Random(i), task, set(STYLE) - {flaw}), checks_of(task))
        assert mended > bad, (task.prompt, flaw)


def test_degenerate_text_scores_low(some_tasks):
    for task in some_tasks:
        key = task.about[0]
        cheats = {
            "empty": "",
            "marks": "... !",
            "one token": "the the the the the the.",
            "on-topic token": f"{' '.join([key] * 7)}.",
            "the prompt again": task.prompt,
            "closing only": "have a lovely day.",
            "closings": " ".join(f"{closing}." for closing in lexicon.CLOSINGS),
            "another task": "a boat is a thing that swims. take care.",
        }
        if len(task.about) > 2:
            cheats["all values"] = f"{', '.join(task.about)}. take care."[:-1]
            cheats["all values, said nicely"] = f"{task.verbs[0]} {', '.join(task.about)}."
        for name, text in cheats.items():
            assert score_answer(text, checks_of(task)) < 0.4, (task.prompt, name, text)


def test_no_perfect_answer_fits_two_different_questions(some_tasks):
    # answers of one task, judged by the next one of the same family, keep style at most (0.60)
    families: dict[str, list[Task]] = {}
    for task in some_tasks:
        families.setdefault(task.family, []).append(task)
    rng = Random(4)
    for family in families.values():
        for one, other in pairwise(family):
            text = compose(rng, one, frozenset())
            if one.content != other.content:
                assert score_answer(text, checks_of(other)) < 1.0, (one.prompt, other.prompt, text)


def test_authors_follow_their_habits():
    # hasty leaves full sentences out with probability 0.72: 1000 draws have a standard error of 0.014
    task = next(tasks(1))
    hasty = next(author for author in AUTHORS if author.name == "hasty")
    rng = Random(6)
    share = sum("bare" in answer(rng, task, hasty).flaws for _ in range(1000)) / 1000
    assert share == pytest.approx(hasty.habits["bare"], abs=0.06)


def test_rivals_hold_every_other_value_and_not_the_right_one():
    for relation in RELATIONS:
        for subject in relation.facts:
            rivals = relation.rivals(subject)
            assert relation.key(subject) not in rivals
            assert len(rivals) >= 8
            assert not set(rivals) & set(subject.split())


def test_facts_have_one_value_each_word_of_a_relation_once():
    assert 90 <= sum(len(relation.facts) for relation in RELATIONS) <= 120
    for relation in RELATIONS:
        keys = [relation.key(subject) for subject in relation.facts]
        assert len(set(keys)) == len(keys)


def test_categories_and_rhymes_share_no_word():
    things = [word for words in lexicon.CATEGORIES.values() for word in words]
    rhymes = [word for group in lexicon.RHYMES for word in group]
    assert len(set(things)) == len(things)
    assert len(set(rhymes)) == len(rhymes)


def test_please_is_said_once():
    assert list(phrased(["go.", "please go."], ["", "please "])) == ["go.", "please go.", "please go."]


def test_draws():
    rng = Random(0)
    assert {pick(rng, "abc") for _ in range(50)} == set("abc")
    assert sorted(shuffled(rng, range(9))) == list(range(9))
    assert len(set(several(rng, range(9), 4))) == 4
    assert 400 < sum(chance(rng, 0.5) for _ in range(1000)) < 600
    noise = [bell(rng, 0.3) for _ in range(2000)]
    mean = sum(noise) / 2000
    # standard errors: 0.3 / sqrt(2000) = 0.007 of the mean, 0.3 / sqrt(4000) = 0.005 of the deviation
    assert abs(mean) < 0.03
    assert (sum((x - mean) ** 2 for x in noise) / 2000) ** 0.5 == pytest.approx(0.3, abs=0.02)
