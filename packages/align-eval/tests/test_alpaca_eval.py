import gzip
import hashlib
import json

import pytest
from annotations import row, rows, write

from align_contracts.errors import ConfigError, MissingError, VerificationError
from align_eval import alpaca_eval
from align_eval.alpaca_eval import preference_of, read_annotations


@pytest.fixture
def read(tmp_path):
    def reading(content, baseline=None, name="annotations.json", packed=False):
        return read_annotations(write(tmp_path / name, content, packed=packed), baseline)

    return reading


def test_a_file_by_hand(read):
    found = read(rows())
    assert (found.candidate, found.baseline, found.judge, found.repeated) == ("mine", "base", "a judge", 0)
    assert [one.preference for one in found.rows] == [0.0, 1.0, 0.5, 0.25, 0.75, None]
    assert [(one.length_candidate, one.length_baseline) for one in found.rows] == [(10 + i, 10) for i in range(6)]
    assert {one.category for one in found.rows} == {"helpful_base"}
    assert found.rows[0].prompt_id == hashlib.sha256(b"Instruction 0").hexdigest()[:16]


def test_packing_is_seen_in_the_bytes_not_in_the_name(read):
    plain = read(rows())
    assert read(rows(), name="plain.json.gz") == plain
    assert read(rows(), name="packed.json", packed=True) == plain


@pytest.mark.parametrize(
    ("said", "preference"),
    [
        (1, 0.0), (2, 1.0), (1.5, 0.5), ("1.5", 0.5), (" 2 ", 1.0), (0, 0.5), (0.0, 0.5), ("0", 0.5),
        (None, None), (float("nan"), None), (1.0000001161, 1.0000001161 - 1),
    ],
)  # fmt: skip
def test_preferences(said, preference):
    assert preference_of(said) == preference


WRONG = [-1, 0.5, 0.9999, 2.0001, 3, float("inf"), 10**400, True, False, "", "A", "1,5", [1], {"value": 1}]


@pytest.mark.parametrize("said", WRONG, ids=lambda said: ascii(said)[:12])
def test_wrong_preferences_name_the_row(read, said):
    with pytest.raises(ValueError, match=r"preference_of|could not convert"):
        preference_of(said)
    with pytest.raises(VerificationError, match=r"annotations.json: row 2 of 2: preference: expected a number"):
        read([row(0, 1), row(1, said)])


@pytest.mark.parametrize("field", ["instruction", "output_1", "generator_1", "output_2", "generator_2", "preference"])
def test_a_missing_field_names_the_row(read, field):
    broken = row(1, 2)
    del broken[field]
    with pytest.raises(VerificationError, match=f"row 2 of 3 has no field '{field}'"):
        read([row(0, 1), broken, row(2, 1)])


@pytest.mark.parametrize("field", ["instruction", "output_1", "generator_1", "output_2", "generator_2"])
@pytest.mark.parametrize("value", [None, 5, ["text"], {}])
def test_what_must_be_text_is_text(read, field, value):
    with pytest.raises(VerificationError, match=rf"row 1 of 1: {field}: expected text, got"):
        read([row(0, 1, **{field: value})])


def test_an_answer_may_be_missing_only_where_nothing_was_judged(read):
    found = read([row(0, None, output_2=None), row(1, 2, output_2="")])
    assert [(one.preference, one.length_candidate) for one in found.rows] == [(None, 0), (1.0, 0)]


def test_known_baselines_are_the_baseline_on_either_side(read):
    both = [
        row(0, 2, generator_1="gpt4_1106_preview"),
        row(1, 2, generator_1="mine", generator_2="gpt4_1106_preview"),
    ]
    found = read(both)
    assert (found.candidate, found.baseline) == ("mine", "gpt4_1106_preview")
    # Row 2 prefers output_2, which is the baseline's; the candidate's answer is output_1 with 10 characters.
    assert [one.preference for one in found.rows] == [1.0, 0.0]
    assert [(one.length_candidate, one.length_baseline) for one in found.rows] == [(10, 10), (10, 11)]


def test_other_baselines_are_generator_1_or_named(read):
    assert read([row(0, 1), row(1, 2)]).baseline == "base"
    assert read([row(0, 1), row(1, 2)], "mine").candidate == "base"
    mixed = [row(0, 1), row(1, 1, generator_1="mine", generator_2="base")]
    with pytest.raises(ConfigError, match=r"which of 'base', 'mine' is the baseline\? Name it with --baseline"):
        read(mixed)
    assert [one.preference for one in read(mixed, "base").rows] == [0.0, 1.0]
    with pytest.raises(
        ConfigError, match=r"--baseline other is not in annotations.json: expected one of 'base', 'mine'"
    ):
        read(mixed, "other")
    # AlpacaEval 1's baseline as a candidate of AlpacaEval 2: both names are known, generator_1 decides.
    known = [row(0, 1, generator_1="gpt4_1106_preview", generator_2="text_davinci_003")]
    assert read(known).candidate == "text_davinci_003"


def test_a_model_against_itself(read):
    found = read([row(i, 1.5, generator_2="base") for i in range(3)])
    assert (found.candidate, found.baseline) == ("base", "base")
    assert [one.preference for one in found.rows] == [0.5] * 3


def test_a_third_model_is_refused(read):
    with pytest.raises(VerificationError, match=r"row 3 of 3 names a third model.*'base', 'mine', 'third'"):
        read([row(0, 1), row(1, 1), row(2, 1, generator_2="third")])


def test_repeated_instructions_all_count_and_are_told(read):
    found = read([row(0, 1), row(0, 2), row(1, 2)])
    assert (len(found.rows), found.repeated) == (3, 1)
    assert found.rows[0].prompt_id == found.rows[1].prompt_id


def test_any_text_goes_through(read):
    strange = "\ud83d \u2028 \x00 größer 日本"  # half of a surrogate pair, which JSON can write and UTF-8 cannot
    content = json.dumps([row(0, 2, instruction=strange, output_2=strange, generator_2=strange, dataset=strange)])
    found = read(content.encode())
    assert found.rows[0].length_candidate == len(strange)
    assert found.candidate == strange.replace("\ud83d", "?")
    assert found.rows[0].category == found.candidate
    assert read(b"\xef\xbb\xbf" + json.dumps(rows()).encode()).rows  # a byte order mark


def test_the_category_and_the_judge_are_optional(read):
    bare = row(0, 2)
    del bare["dataset"], bare["annotator"]
    found = read([bare])
    assert (found.rows[0].category, found.judge) == ("all", "alpaca-eval")
    assert read([row(0, 1), row(1, 1, annotator="another")]).judge == "alpaca-eval"
    odd = read([row(0, 1, annotator={"name": 1}, dataset=["x"])])
    assert (odd.rows[0].category, odd.judge) == ("all", "alpaca-eval")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[{", "not valid JSON"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b'[{"preference": ' + b"9" * 5000 + b"}]", "not valid JSON"),
        ([], "at least one row"),
        ({"0": row(0, 1)}, "a JSON list"),
        ([row(0, 1), ["list"]], "row 2 of 2: expected an object"),
        ([[]], "row 1 of 1"),
        ([row(0, None), row(1, None)], "no row has a preference"),
        (gzip.compress(json.dumps(rows()).encode())[:-20], "gzip packing is broken"),
        (b"\x1f\x8bnot really", "gzip packing is broken"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_files_that_are_no_annotations(read, content, words):
    with pytest.raises(VerificationError, match=words) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(MissingError, match="is not there"):
        read_annotations(tmp_path / "none.json")
    with pytest.raises(VerificationError, match="cannot be read"):
        read_annotations(tmp_path)
    monkeypatch.setattr(alpaca_eval, "MAX_BYTES", 100)
    with pytest.raises(VerificationError, match="too large: expected at most 100 bytes"):
        read_annotations(write(tmp_path / "bomb.json.gz", b" " * 10_000, packed=True))
