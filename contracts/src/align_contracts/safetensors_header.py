"""Reading the header of a safetensors file with the standard library, as strictly as the Rust parser.

Layout: 8 bytes little-endian length N, N bytes of JSON, then the bytes of the tensors without holes, overlaps
or a tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

from align_contracts.canonical import strict_loads
from align_contracts.errors import VerificationError

MAX_HEADER_BYTES = 16 * 2**20
MAX_TENSORS = 100_000
MAX_RANK = 16
_MAX_MARKS = {b"[": 4 * MAX_TENSORS, b'"': 20 * MAX_TENSORS, b",": 25 * MAX_TENSORS}
"""No header of `MAX_TENSORS` tensors has more of these; parsing one that does would cost 30 bytes a byte."""

ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}
"""Element types an artifact may hold, with their size in bytes."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: its name.
        dtype: its element type, a key of `ITEM_BYTES`.
        shape: its sizes; empty for a scalar.
        begin: first byte, counted from the start of the file.
        end: byte after the last one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, size: int, where: str) -> list[Tensor]:
    """Read and check a safetensors header.

    Args:
        file: the file, opened for reading at its start.
        size: its length in bytes.
        where: its name for messages.

    Returns:
        The tensors in the order of their bytes.

    Raises:
        VerificationError: for a header that is cut, too large or not strict JSON, or whose offsets leave
            holes, overlap, overflow or do not fill the file exactly.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length < 2 or length > MAX_HEADER_BYTES or 8 + length > size:
        raise VerificationError(
            f"{where}: bad safetensors header length",
            expected=f"2 to {min(MAX_HEADER_BYTES, max(size - 8, 0))} bytes",
            got=length,
        )
    data = file.read(length)
    if len(data) != length or data[:1] != b"{":
        raise VerificationError(f"{where}: the safetensors header is not a JSON object")
    for mark, most in _MAX_MARKS.items():
        if (found := data.count(mark)) > most:
            raise VerificationError(
                f"{where}: too many {mark.decode()} in its header", expected=f"at most {most}", got=found
            )
    header = strict_loads(data, f"{where} (header)")
    _check_metadata(header.pop("__metadata__", {}), where)
    if len(header) > MAX_TENSORS:
        raise VerificationError(f"{where}: too many tensors", expected=f"at most {MAX_TENSORS}", got=len(header))
    tensors = [_tensor(name, entry, 8 + length, where) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    position = 8 + length
    for tensor in tensors:
        if tensor.begin != position:
            word = "overlaps another" if tensor.begin < position else "leaves a hole before it"
            raise VerificationError(f"{where}: tensor {tensor.name!r} {word}")
        position = tensor.end
    if position != size:
        raise VerificationError(f"{where}: the tensors do not fill the file", expected=position, got=size)
    return tensors


def _check_metadata(metadata: Any, where: str) -> None:
    if metadata is None:  # what MLX writes for none, and what the Rust parser takes
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise VerificationError(f"{where}: __metadata__ must map strings to strings")


def _tensor(name: str, entry: Any, base: int, where: str) -> Tensor:
    label = f"{where}: tensor {name!r}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise VerificationError(label, expected="dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise VerificationError(f"{label}: unknown dtype", expected=" | ".join(ITEM_BYTES), got=repr(dtype))
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        raise VerificationError(f"{label}: shape and data_offsets must be lists of whole numbers >= 0")
    if len(shape) > MAX_RANK:
        raise VerificationError(f"{label}: too many axes", expected=f"at most {MAX_RANK}", got=len(shape))
    needed = math.prod(shape) * ITEM_BYTES[dtype]
    if offsets[1] - offsets[0] != needed:
        raise VerificationError(f"{label}: {dtype} {shape}", expected=f"{needed} bytes", got=offsets[1] - offsets[0])
    return Tensor(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)
