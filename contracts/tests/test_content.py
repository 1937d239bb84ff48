import io
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import VerificationError, content
from align_contracts.content import (
    check_finite,
    check_json,
    has_nonfinite,
    sha256_file,
)
from align_contracts.safetensors_header import read_header


def test_sha256_of_a_known_text():
    # FIPS 180-2, appendix B.1: sha256("abc").
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(io.BytesIO(b"abc")) == known


@pytest.mark.parametrize(("dtype", "layout"), [("F64", "<d"), ("F32", "<f"), ("F16", "<e")])
def test_nonfinite_in_every_place(dtype, layout):
    largest = {"F64": 1.7976931348623157e308, "F32": 3.4028234663852886e38, "F16": 65504.0}[dtype]
    finite = [0.0, -0.0, 1.0, -largest, largest, 6e-8]
    assert not has_nonfinite(b"".join(struct.pack(layout, x) for x in finite), dtype)
    for bad in (math.nan, math.inf, -math.inf):
        for place in range(len(finite)):
            numbers = [*finite[:place], bad, *finite[place + 1 :]]
            assert has_nonfinite(b"".join(struct.pack(layout, x) for x in numbers), dtype)


def test_nonfinite_bf16():
    # bf16 is the upper half of an f32: 0x7f7f is the largest finite number, 0x7f80 infinity, 0x7fc0 NaN.
    def pack(*words):
        return struct.pack(f"<{len(words)}H", *words)

    assert not has_nonfinite(pack(0x0000, 0x8000, 0x3F80, 0x7F7F, 0xFF7F, 0x0080), "BF16")
    for bad in (0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF):
        assert has_nonfinite(pack(0x3F80, bad, 0x3F80), "BF16")


@given(st.lists(st.floats(width=32), max_size=8))
def test_nonfinite_agrees_with_math(numbers):
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    assert has_nonfinite(data, "F32") == (not all(map(math.isfinite, numbers)))


def test_integers_and_nothing_are_finite():
    assert not has_nonfinite(b"\xff" * 16, "U32")
    assert not has_nonfinite(b"", "F32")


def test_check_finite_names_the_tensor_and_reads_in_blocks(write_safetensors, monkeypatch):
    monkeypatch.setattr(content, "CHUNK", 8)
    good = ("F32", [5], struct.pack("<5f", *range(5)))
    bad = ("F32", [5], struct.pack("<5f", 0, 0, 0, 0, math.nan))
    for tensors, fails in (({"a": good, "b": good}, False), ({"a": good, "b": bad}, True)):
        data = write_safetensors(tensors)
        file = io.BytesIO(data)
        header = read_header(file, len(data), "f")
        if fails:
            with pytest.raises(VerificationError, match="f: tensor 'b' holds NaN or infinity"):
                check_finite(file, header, "f")
        else:
            check_finite(file, header, "f")


def test_a_tensor_that_is_cut_after_its_header_was_read(write_safetensors):
    data = write_safetensors({"w": ("F32", [4], bytes(16))})
    header = read_header(io.BytesIO(data), len(data), "f")
    with pytest.raises(VerificationError, match="f: tensor 'w' is cut"):
        check_finite(io.BytesIO(data[:-4]), header, "f")


def test_check_json(monkeypatch):
    check_json(io.BytesIO(b"[1]"), "a.json")
    check_json(io.BytesIO(b'{"a":1}\n{"b":2}'), "a.jsonl")
    check_json(io.BytesIO(b""), "a.jsonl")
    for data, message in (
        (b'{"a":1}\n{"a":1,"a":2}\n', "a.jsonl line 2: the key 'a' appears twice"),
        (b'{"a":1}\n\n', "a.jsonl line 2: not valid JSON"),
        (b"{}\n[]\n", "a.jsonl line 2: expected a JSON object, got list"),
    ):
        with pytest.raises(VerificationError, match=message):
            check_json(io.BytesIO(data), "a.jsonl")
    monkeypatch.setattr(content, "MAX_JSON_BYTES", 2)
    with pytest.raises(VerificationError, match="too large"):
        check_json(io.BytesIO(b"[1]"), "a.json")
    with pytest.raises(VerificationError, match=r"a.jsonl line 1: too long: expected at most 2 bytes"):
        check_json(io.BytesIO(b'{}{"a":1}'), "a.jsonl")
