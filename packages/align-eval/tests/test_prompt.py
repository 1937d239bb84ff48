import json

import pytest

from align_eval.judges.prompt import REPLY_SCHEMA, load_template, read_choice


def test_texts_are_put_in_place_in_one_pass():
    filled = load_template().fill("What is {first}?", "{second}", "{prompt} and {x}")
    assert "<request>\nWhat is {first}?\n</request>" in filled
    assert "<answer_A>\n{second}\n</answer_A>" in filled
    assert "<answer_B>\n{prompt} and {x}\n</answer_B>" in filled


def test_the_prompt_asks_for_what_is_read():
    text = load_template().text
    properties = REPLY_SCHEMA["schema"]["properties"]
    assert all(f'"{name}"' in text for name in properties)
    assert all(f'"{choice}"' in text for choice in properties["verdict"]["enum"])
    assert len(load_template().digest) == 64


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
        ("", "invalid"),
        (None, "invalid"),
        ("[" * 100_000, "invalid"),
        (json.dumps("A"), "invalid"),
    ],
)
def test_read_choice(reply, choice):
    assert read_choice(reply) == choice
