"""Whatever a safetensors file begins with, it is read or refused, and nothing is read that the Rust parser refuses."""

import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align_contracts import VerificationError
from align_contracts.content import check_finite
from align_contracts.safetensors_header import ITEM_BYTES, read_header
from fuzzing import JSON, NUMBERS, bounded, changed, examples, mutated, refused

safe = pytest.importorskip("safetensors", reason="the Rust parser is the oracle here")

TWO = {
    "__metadata__": {"format": "mlx"},
    "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
    "b": {"dtype": "U8", "shape": [3], "data_offsets": [8, 11]},
}


def pack(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


GOOD = pack(TWO, struct.pack("<2f", 0.5, 2.0) + b"abc")


def attempt(data):
    """Read a header and its numbers; what is accepted must be what the Rust parser reads."""
    file = io.BytesIO(data)
    try:
        with bounded():
            tensors = read_header(file, len(data), "f")
            check_finite(file, tensors, "f")
    except VerificationError as error:
        refused(str(error))
        return False
    parsed = {name: (tuple(info["shape"]), info["dtype"]) for name, info in safe.deserialize(data)}
    assert parsed == {tensor.name: (tensor.shape, tensor.dtype) for tensor in tensors}
    return True


def test_the_untouched_file_passes():
    assert attempt(GOOD)


@examples(200)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda noise: pack(noise, b"")))
def test_anything_at_all(data):
    attempt(data)


@examples(400)
@given(mutated(GOOD))
def test_mutated_bytes(data):
    attempt(data)


@examples(400)
@given(changed(TWO).map(lambda header: pack(header, GOOD[-11:])))
def test_changed_structure(data):
    attempt(data)


@examples(300)
@given(
    st.dictionaries(
        st.text(max_size=3),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from([*ITEM_BYTES, "F8_E4M3", "f32", ""]) | JSON,
                "shape": st.lists(NUMBERS, max_size=3),
                "data_offsets": st.lists(NUMBERS, min_size=2, max_size=2),
            }
        ),
        max_size=3,
    ),
    st.binary(max_size=24),
)
def test_entries_of_all_sizes(header, body):
    attempt(pack(header, body))


@st.composite
def tilings(draw):
    """Headers whose tensors tile their bytes, or nearly: one boundary may be moved to make a hole or an overlap."""
    header, end = {}, 0
    for name in draw(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=5)):
        dtype, shape = draw(st.sampled_from(sorted(ITEM_BYTES))), draw(st.lists(st.integers(0, 3), max_size=3))
        size = ITEM_BYTES[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    moved = draw(st.integers(-2, 2))
    if header and moved:
        entry = header[draw(st.sampled_from(sorted(header)))]["data_offsets"]
        entry[draw(st.integers(0, 1))] += moved
    names = draw(st.permutations(sorted(header)))
    return pack({name: header[name] for name in names}, bytes(end)), moved == 0 or not header


@examples(300)
@given(tilings())
def test_exact_tilings_pass_and_holes_and_overlaps_do_not(case):
    data, exact = case
    if "__metadata__" not in data.decode("latin-1"):
        assert attempt(data) is exact
