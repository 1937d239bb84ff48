import enum
import hashlib
import resource
import sys
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from align_contracts import ConfigError, VerificationError
from align_contracts.canonical import (
    MAX_DEPTH,
    canonical_bytes,
    digest,
    json_depth,
    manifest_bytes,
    strict_loads,
    to_json,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aä"[{\\\n'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab}", max_size=2), inner, max_size=3),
    max_leaves=12,
)


def test_canonical_bytes_are_sorted_compact_utf8():
    # Keys by code point ("B" 0x42 < "a" 0x61 < "ä" 0xe4), no spaces, text not escaped.
    assert canonical_bytes({"ä": 1, "a": [1.5, None], "B": "é"}) == '{"B":"é","a":[1.5,null],"ä":1}'.encode()


def test_digest_is_the_sha256_of_these_bytes():
    assert digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


def test_manifest_bytes_have_a_line_for_each_field_and_record():
    text = manifest_bytes({"files": [{"b": 1, "a": 2}, {}], "config": {"x": 1}, "seeds": []}).decode()
    assert text == '{\n"config": {"x":1},\n"files": [\n  {"a":2,"b":1},\n  {}\n],\n"seeds": []\n}\n'


@given(st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
def test_manifest_bytes_are_json_and_a_fixed_point(value):
    data = manifest_bytes(value)
    assert strict_loads(data, "x") == value
    assert manifest_bytes(strict_loads(data, "x")) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object()])
def test_canonical_bytes_refuse(value):
    with pytest.raises(VerificationError):
        canonical_bytes({"a": value})


class Colour(enum.Enum):
    RED = "red"


class Config(BaseModel):
    out: PurePosixPath
    colours: tuple[Colour, ...]


def test_to_json_makes_plain_values():
    config = Config(out=PurePosixPath("a/b"), colours=(Colour.RED,))
    assert to_json({"config": config, "n": (1, 2.5, None, True)}) == {
        "config": {"out": "a/b", "colours": ["red"]},
        "n": [1, 2.5, None, True],
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1.0, float("inf")]}, r"top\.a\[1\]: expected a finite number, got inf"),
        ({1: 2}, "key 1: expected a string, got int"),
        ({"a": {3}}, r"top\.a: expected a JSON value, got set"),
    ],
)
def test_to_json_names_the_place(value, message):
    with pytest.raises(ConfigError, match=message):
        to_json(value, "top")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1,"a":1}', "f: the key 'a' appears twice"),
        (b'{"x":{"a":1,"b":2,"a":1}}', "f: the key 'a' appears twice"),
        (b'{"a":NaN}', "finite"),
        (b'{"a":-Infinity}', "finite"),
        (b'{"a":1e999}', "finite"),
        (b'{"a":\xff}', "byte 5 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\\ud83d"}', "f: half of a surrogate pair"),
        (b'{"\\uDE00":1}', "f: half of a surrogate pair"),
        (b"{", "not valid JSON"),
        (b"{}{}", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"9" * 5000, "not valid JSON"),
        (b"[" * 33 + b"]" * 33, "nested too deep: expected at most 32 levels, got 33"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
    ],
)
def test_strict_loads_refuses(data, message):
    with pytest.raises(VerificationError, match=message):
        strict_loads(data, "f")


def test_what_is_refused_is_refused_at_once_and_in_little_memory():
    """Sizes at which a quadratic search took minutes and the scanner's backtracking 2 GB."""
    many = b"{" + b",".join(b'"%d":0' % i for i in range(200_000)) + b',"199999":0}'
    with pytest.raises(VerificationError, match="the key '199999' appears twice"):
        strict_loads(many, "f")
    text = b"[" * 40 + b'"' + b'a\\"' * 2**19 + b'"'
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert json_depth(text) == 40
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 16 * len(text)  # backtracking: above 100 bytes a byte


def test_whole_surrogate_pairs_are_characters():
    assert strict_loads(b'["\\ud83d\\ude00"]', "f") == ["\U0001f600"]


def test_depth_counts_brackets_outside_strings_only():
    assert strict_loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "f") is not None
    assert json_depth(b'["' + b"[" * 50 + b'", "\\"' + b"{" * 50 + b'"]') == 1
    assert json_depth(b"[" + b"[]," * 50 + b"[[]]]") == 3
    assert strict_loads(b'["' + b"[" * 50 + b'"]', "f") == ["[" * 50]


@given(JSON)
def test_depth_is_never_too_small(value):
    def depth(item):
        if isinstance(item, dict):
            return 1 + max(map(depth, item.values()), default=0)
        return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0

    assert json_depth(canonical_bytes(value)) >= depth(value)
