import json

import pytest

from align_eval.judges.prompt import PROBE_SCHEMA, REPLY_SCHEMA, fill, load_prompt, read_choice


@pytest.mark.parametrize("form", ["json_schema", "label"])
def test_texts_are_put_in_place_in_one_pass(form):
    filled = fill(load_prompt(form), "What is {first}?", "{second}", "{prompt} and {x}")
    assert "<request>\nWhat is {first}?\n</request>" in filled
    assert "<answer_A>\n{second}\n</answer_A>" in filled
    assert "<answer_B>\n{prompt} and {x}\n</answer_B>" in filled


def test_the_prompt_asks_for_what_is_read():
    text = load_prompt("json_schema")
    properties = REPLY_SCHEMA["schema"]["properties"]
    assert all(f'"{name}"' in text for name in properties)
    assert all(f'"{choice}"' in text for choice in properties["verdict"]["enum"])
    assert PROBE_SCHEMA["schema"]["required"] == ["verdict"]
    label = load_prompt("label")
    assert [line for line in label.splitlines() if read_choice("label", line) != "invalid"] == [
        "Verdict: A", "Verdict: B", "Verdict: tie",
    ]  # fmt: skip


def test_the_two_forms_differ_in_nothing_but_how_they_ask():
    schema, label = load_prompt("json_schema"), load_prompt("label")
    assert schema.split("Reply with")[0] == label.split("Give your")[0]
    assert schema != label


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ('{"reason": "r", "verdict": "A"}', "first"),
        ('{"verdict": "B"}', "second"),
        ('  {"verdict": "tie"}\n', "tie"),
        ('```json\n{"verdict": "A"}\n```', "first"),
        ('The answer is {"verdict": "A"}', "invalid"),
        ('{"verdict": "a"}', "invalid"),
        ('{"verdict": null}', "invalid"),
        ("Verdict: A", "invalid"),
        ("", "invalid"),
        (None, "invalid"),
        ("[" * 100_000, "invalid"),
        (json.dumps("A"), "invalid"),
    ],
)
def test_read_json(reply, choice):
    assert read_choice("json_schema", reply) == choice


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("A is right, B is not.\nVerdict: A", "first"),
        ("Verdict: B\n", "second"),
        ("\n\nBoth.\n\nVerdict: tie  \n\n", "tie"),
        ("Windows\r\nVerdict: A\r\n", "first"),
        ("Verdict: A\nAgain:\nVerdict: A", "first"),
        ("Verdict: A\nNo, wait.\nVerdict: B", "invalid"),
        ("Verdict: A\nbecause it is right.", "invalid"),
        ("My verdict: A", "invalid"),
        ("The right one is clear. Verdict: A", "invalid"),
        ("**Verdict: A**", "invalid"),
        ("Verdict: A.", "invalid"),
        ("verdict: a", "invalid"),
        ("Verdict: C", "invalid"),
        ("Verdict: A or B", "invalid"),
        ('{"verdict": "A"}', "invalid"),
        ("A", "invalid"),
        ("", "invalid"),
        (None, "invalid"),
    ],
)
def test_read_label(reply, choice):
    assert read_choice("label", reply) == choice
