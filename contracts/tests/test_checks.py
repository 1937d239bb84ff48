"""Reference checks: each kind by hand, the common parameters, and what degenerate text earns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts.checks import KINDS, Text, explain, score_answer
from align_contracts.errors import ConfigError


def holds(answer: str, kind: str, **params: object) -> bool:
    ((_, _, satisfied),) = explain(answer, {"items": [{"kind": kind, "weight": 1.0, **params}]})
    return satisfied


# kind, parameters, answers that satisfy it, answers that do not
CASES = [
    (
        "contains_all",
        {"words": ["fox", "red hat"]},
        ["A FOX in a  red\that!", "red hat, fox"],
        ["a fox, a hat red", "foxes, red hat"],
    ),
    ("contains_all", {"words": ["rome"], "most": 2}, ["rome. rome."], ["rome rome rome"]),
    ("contains_any", {"words": ["may i", "please"]}, ["may I go", "oh please"], ["i may go", "pleased"]),
    ("contains_any", {"words": ["may", "can"], "most": 1}, ["may we"], ["may we, can we"]),
    ("contains_none", {"words": ["i guess", "maybe"]}, ["it is so", "guess, i"], ["Maybe so", "so, I guess"]),
    ("starts_with", {"words": ["one day", "once"]}, ["once a fox", "Ugh. One day, a fox"], ["a fox once", "one"]),
    ("starts_with_none", {"words": ["oh no", "fine"]}, ["oh yes", "it is fine"], ["Oh, no way", "fine"]),
    ("sentence_ends_with", {"words": ["hat"]}, ["a cat, a hat", "a hat! bye."], ["hat", "a hat rack"]),
    (
        "ends_with",
        {"words": ["take care"]},
        ["hi. Take care!", "please take care."],
        ["take care", "take care. hi.", "hi."],
    ),
    ("ends_with", {"words": ["take care", "bye"], "once": True}, ["hi. bye."], ["take care. bye.", "bye bye."]),
    ("word_count", {"min": 2, "max": 3}, ["a b", "a, b. c"], ["a", "a b c d"]),
    ("word_count", {"max": 9, "max_sentences": 2}, ["a. b."], ["a. b. c."]),
    (
        "item_count",
        {"members": ["cat", "dog", "cow"], "count": 2},
        ["cat, dog", "cat, dog, cat"],
        ["cat", "cat, dog, cow"],
    ),
    ("distinct_items", {"members": ["cat", "dog", "cow"]}, ["cat, dog. cat, dog."], ["cat", "cat, dog, cat", "rose"]),
    ("distinct_items", {"members": ["cat", "dog", "cow"], "most": 2}, ["cat, dog"], ["cat, dog, cow"]),
    ("repeats", {"word": "hop", "count": 2}, ["hop, hop", "hop. hop hop."], ["hop", "hop hop hop", "hop. hop."]),
    (
        "no_repeat",
        {"run": 3},
        ["a b c. c e f", "the fox and the fox"],
        ["a b c x a b c", "a b. a b.", "a b, i say. b.", "a a"],
    ),
    ("no_repeat", {"run": None}, ["hop, hop, hop, hop"], ["hop, hop. hop, hop."]),
    (
        "full_sentence",
        {"verbs": ["is"], "min_words": 3},
        ["it is so.", "ugh. it is so!"],
        ["so.", "it is.", "it is so", "it is so?"],
    ),
    ("full_sentence", {"verbs": ["is"]}, ["rome is a city."], ["is is is is.", "rome rome rome is is."]),
]


@pytest.mark.parametrize(("kind", "params", "good", "bad"), CASES)
def test_each_kind(kind, params, good, bad):
    assert [holds(answer, kind, **params) for answer in good] == [True] * len(good)
    assert [holds(answer, kind, **params) for answer in bad] == [False] * len(bad)


def test_every_kind_has_a_case_and_is_documented():
    assert {case[0] for case in CASES} == set(KINDS)
    assert all(check.__doc__ for check in KINDS.values())


@pytest.mark.parametrize(("kind", "params", "good", "bad"), CASES)
def test_an_answer_without_words_satisfies_nothing(kind, params, good, bad):
    assert not any(holds(answer, kind, **params) for answer in ("", "   ", "...", "?!\n"))


def test_about_makes_an_absence_worth_something_only_on_topic():
    item = {"words": ["maybe"], "about": ["rome", "oslo"]}
    assert holds("rome it is", "contains_none", **item)
    assert not holds("pizza it is", "contains_none", **item)
    assert not holds("maybe rome", "contains_none", **item)


def test_about_most_refuses_an_answer_that_lists_everything():
    item = {"words": ["maybe"], "about": ["rome", "oslo", "paris"], "about_most": 2}
    assert holds("rome or oslo", "contains_none", **item)
    assert not holds("rome or oslo or paris", "contains_none", **item)


def test_unless_refuses_a_right_value_beside_its_rivals():
    item = {"words": ["rome"], "unless": ["paris", "oslo"]}
    assert holds("rome", "contains_all", **item)
    assert not holds("rome, paris, oslo", "contains_all", **item)


def test_at_least_counts_words():
    assert holds("a b c", "contains_all", words=["a"], at_least=3)
    assert not holds("a b", "contains_all", words=["a"], at_least=3)


def test_score_is_the_weighted_share():
    checks = {
        "references": ["rome is big. bye."],
        "items": [
            {"kind": "contains_all", "weight": 3.0, "words": ["rome"]},
            {"kind": "ends_with", "weight": 1.0, "words": ["bye"]},
        ],
    }
    assert score_answer("rome is big. bye.", checks) == 1.0
    assert score_answer("rome is big.", checks) == 0.75  # 3 of 3 + 1
    assert score_answer("oslo. bye.", checks) == 0.25  # 1 of 3 + 1
    assert score_answer("", checks) == 0.0
    assert explain("rome", checks) == [("contains_all", 3.0, True), ("ends_with", 1.0, False)]


def test_a_perfect_score_is_exactly_one_whatever_the_weights():
    # 0.1 + 0.2 + 0.7 is not 1.0 in binary, the score still is
    items = [{"kind": "contains_all", "weight": w, "words": ["a"]} for w in (0.1, 0.2, 0.7)]
    assert score_answer("a", {"items": items}) == 1.0


def test_sentences_and_marks():
    text = Text.of("  Well - it’s ROME!  And\nthen? ... bye")
    assert text.sentences == (("well", "it's", "rome"), ("and",), ("then",), ("bye",))
    assert text.marks == ("!", "", "?", "")


@pytest.mark.parametrize(
    ("checks", "message"),
    [
        ({"items": [{"kind": "contains_al", "words": []}]}, "contains_al"),
        ({"items": [{"weight": 1.0}]}, "kind"),
        ({"items": [{"kind": "repeats", "word": "a", "times": 3}]}, "repeats"),
        ({"items": [{"kind": "repeats"}]}, "repeats"),
        ({"items": [{"kind": "repeats", "weight": 0, "word": "a", "count": 1}]}, "weight"),
        ({"items": [{"kind": "repeats", "weight": float("nan"), "word": "a", "count": 1}]}, "weight"),
        ({"items": []}, "item"),
        ({}, "item"),
    ],
)
def test_wrong_checks_say_what_is_wrong(checks, message):
    with pytest.raises(ConfigError, match=message):
        score_answer("a", checks)


@pytest.mark.parametrize("answer", ["", "a"])
def test_wrong_checks_are_found_even_with_an_empty_answer(answer):
    with pytest.raises(ConfigError):
        score_answer(answer, {"items": [{"kind": "no_such_kind"}]})


PLAIN = st.text(alphabet="ab c.!?,\n", max_size=40)


@given(PLAIN)
def test_score_is_a_share_and_ignores_case_and_outer_space(answer):
    items = [{"kind": kind, "weight": 1.0, **params} for kind, params, _, _ in CASES]
    score = score_answer(answer, {"items": items})
    assert 0.0 <= score <= 1.0
    assert score_answer(f" \n{answer.upper()}\t ", {"items": items}) == score
