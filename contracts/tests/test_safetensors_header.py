import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import VerificationError, safetensors_header
from align_contracts.safetensors_header import Tensor, read_header

safe = pytest.importorskip("safetensors", reason="the Rust parser is the oracle here")


def raw(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def read(data):
    return read_header(io.BytesIO(data), len(data), "f")


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_reads_what_the_independent_writer_wrote(write_safetensors):
    data = write_safetensors(
        {
            "z": ("U8", [3], b"abc"),
            "empty": ("F32", [0, 4], b""),
            "scalar": ("I64", [], bytes(8)),
        },
        {"format": "mlx"},
    )
    start = len(data) - 11  # 3 + 0 + 8 bytes of data
    assert read(data) == [
        Tensor("z", "U8", (3,), start, start + 3),
        Tensor("empty", "F32", (0, 4), start + 3, start + 3),
        Tensor("scalar", "I64", (), start + 3, start + 11),
    ]


def test_no_tensors_at_all():
    assert read(raw({})) == []


def test_no_metadata_may_be_null_as_mlx_writes_it():
    data = raw({"__metadata__": None, "a": entry()}, bytes(4))
    assert [tensor.name for tensor in read(data)] == ["a"]
    assert [name for name, _ in safe.deserialize(data)] == ["a"]  # the Rust parser takes it too


ATTACKS = {
    "empty file": b"",
    "cut length": b"\x02\x00\x00",
    "length 0": raw(b""),
    "length beyond the file": raw({}, length=100),
    "length overflow": raw({}, length=2**64 - 1),
    "header is a list": raw(b"[]"),
    "header is cut json": raw(b'{"a":'),
    "header not utf-8": raw(b'{"\xff":1}'),
    "leading space": raw(b" {}"),
    "nan": raw(b'{"a":NaN}'),
    "duplicate tensor": raw(
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"x",
    ),
    "duplicate key": raw(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "hole at the start": raw({"a": entry(offsets=(4, 8))}, bytes(8)),
    "hole between": raw({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
    "trailing bytes": raw({"a": entry()}, bytes(5)),
    "overlap": raw({"a": entry(), "b": entry(offsets=(2, 6))}, bytes(6)),
    "same bytes twice": raw({"a": entry(), "b": entry()}, bytes(4)),
    "beyond the end": raw({"a": entry(shape=(2,), offsets=(0, 8))}, bytes(4)),
    "reversed offsets": raw({"a": entry(shape=(0,), offsets=(4, 0))}, bytes(4)),
    "negative offset": raw({"a": entry(offsets=(-4, 0))}, bytes(4)),
    "size differs from shape": raw({"a": entry(shape=(2,))}, bytes(4)),
    "shape overflow": raw({"a": entry(shape=(2**62, 8), offsets=(0, 0))}),
    "shape product wraps to 4": raw({"a": entry(dtype="U8", shape=(2**32, 2**32), offsets=(0, 0))}),
    "negative shape": raw({"a": entry(shape=(-1, -1))}, bytes(4)),
    "float shape": raw({"a": entry(shape=(1.0,))}, bytes(4)),
    "boolean shape": raw({"a": entry(shape=(True,))}, bytes(4)),
    "text shape": raw({"a": {**entry(), "shape": "1"}}, bytes(4)),
    "three offsets": raw({"a": entry(offsets=(0, 4, 4))}, bytes(4)),
    "missing field": raw({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "unknown dtype": raw({"a": entry(dtype="F12")}, bytes(4)),
    "dtype is a list": raw({"a": {**entry(), "dtype": ["F32"]}}, bytes(4)),
    "entry is a number": raw({"a": 1}),
    "metadata is a list": raw({"__metadata__": [1]}),
    "metadata value is a number": raw({"__metadata__": {"a": 1}}),
    "a million lists": raw(b'{"a":[' + b"[]," * 10**6 + b"1]}"),
    "a million texts": raw(b'{"a":[' + b'"ab",' * (10**6 + 1) + b"1]}"),
    "three million numbers": raw(b'{"a":[' + b"300," * (3 * 10**6) + b"1]}"),
    "nested metadata": raw(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name):
    with pytest.raises(VerificationError, match=r"^f[ :]"):
        read(ATTACKS[name])


STRICTER = {"duplicate tensor", "duplicate key", "leading space", "boolean shape"}
"""Attacks that the Rust parser may let pass; everything else it refuses too."""


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - STRICTER))
def test_the_rust_parser_agrees(name):
    with pytest.raises(Exception):  # noqa: B017, PT011  (SafetensorError, OverflowError or a UTF-8 error)
        safe.deserialize(ATTACKS[name])


def test_unknown_fields_are_refused():
    with pytest.raises(VerificationError, match="dtype, shape and data_offsets"):
        read(raw({"a": {**entry(), "code": "x"}}, bytes(4)))


def test_limits(monkeypatch):
    with pytest.raises(VerificationError, match="too many axes"):
        read(raw({"a": entry(shape=[1] * 17)}, bytes(4)))
    monkeypatch.setattr(safetensors_header, "MAX_TENSORS", 1)
    with pytest.raises(VerificationError, match="too many tensors: expected at most 1, got 2"):
        read(raw({"a": entry(), "b": entry(offsets=(4, 8))}, bytes(8)))
    monkeypatch.setattr(safetensors_header, "MAX_HEADER_BYTES", 10)
    with pytest.raises(VerificationError, match="header length"):
        read(raw({"a": entry()}, bytes(4)))


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 255))
def test_no_other_error_ever_and_never_laxer_than_rust(noise, position, byte):
    data = bytearray(raw({"a": entry(), "b": entry(dtype="U8", offsets=(4, 5))}, bytes(5)) + noise[:2])
    data[position] = byte
    try:
        found = {tensor.name: tensor.shape for tensor in read(bytes(data))}
    except VerificationError:
        return
    parsed = {name: tuple(info["shape"]) for name, info in safe.deserialize(bytes(data))}
    assert parsed == found
