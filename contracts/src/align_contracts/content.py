"""Checks of what files hold: sha256, finite weights, strict JSON.

Standard library only, so that nothing unfit is ever published, with or without the extra `deep`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO

from align_contracts.canonical import strict_loads
from align_contracts.errors import VerificationError
from align_contracts.safetensors_header import ITEM_BYTES, Tensor

CHUNK = 4 * 2**20
MAX_JSON_BYTES = 64 * 2**20
"""Longest `.json` file, and longest line of a `.jsonl` file: twice the largest tokenizer in use."""

# A float is NaN or infinite when all its exponent bits are set: {dtype: ((byte, mask), ...)}, byte 0 lowest.
_EXPONENT = {
    "F16": ((1, 0x7C),),
    "BF16": ((1, 0x7F), (0, 0x80)),
    "F32": ((3, 0x7F), (2, 0x80)),
    "F64": ((7, 0x7F), (6, 0xF0)),
}
_FULL = {mask: bytes(byte & mask == mask for byte in range(256)) for mask in (0x7C, 0x7F, 0x80, 0xF0)}


def sha256_file(file: BinaryIO) -> str:
    """Return the sha256 of an open file from its current position to its end, in constant memory."""
    state = hashlib.sha256()
    while chunk := file.read(CHUNK):
        state.update(chunk)
    return state.hexdigest()


def has_nonfinite(data: bytes, dtype: str) -> bool:
    """Say whether little-endian numbers hold a NaN or an infinity.

    The exponent bytes of all numbers are sliced out and mapped to 0 or 1; the slices, as two long integers,
    are combined with one `and`. Nothing is looped over in Python: about 1 GB a second.

    Args:
        data: whole numbers of the type, back to back.
        dtype: safetensors type; integers and booleans are always finite.
    """
    if dtype not in _EXPONENT:
        return False
    size = ITEM_BYTES[dtype]
    bits = -1
    for offset, mask in _EXPONENT[dtype]:
        bits &= int.from_bytes(data[offset::size].translate(_FULL[mask]), "little")
    return bits != 0


def check_finite(file: BinaryIO, tensors: Iterable[Tensor], where: str) -> None:
    """Read every float tensor of an open safetensors file in blocks and refuse NaN and infinity.

    Args:
        file: the open file.
        tensors: its header (see `read_header`).
        where: name for messages.

    Raises:
        VerificationError: naming the file and the tensor.
    """
    for tensor in tensors:
        if tensor.dtype not in _EXPONENT:
            continue
        file.seek(tensor.begin)
        left = tensor.end - tensor.begin
        while left:
            data = file.read(min(left, CHUNK))
            if not data:
                raise VerificationError(f"{where}: tensor {tensor.name!r} is cut")
            left -= len(data)
            if has_nonfinite(data, tensor.dtype):
                raise VerificationError(f"{where}: tensor {tensor.name!r} holds NaN or infinity")


def check_json(file: BinaryIO, where: str) -> None:
    """Check a `.json` or `.jsonl` file: strict JSON, in the latter case one object a line.

    Args:
        file: the open file.
        where: its name; decides between the two forms.

    Raises:
        VerificationError: naming the file, and the line of a `.jsonl` file.
    """
    if not where.casefold().endswith(".jsonl"):
        data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise VerificationError(f"{where}: too large", expected=f"at most {MAX_JSON_BYTES} bytes")
        strict_loads(data, where)
        return
    number = 0
    while line := file.readline(MAX_JSON_BYTES + 1):
        number += 1
        if len(line) > MAX_JSON_BYTES:
            raise VerificationError(f"{where} line {number}: too long", expected=f"at most {MAX_JSON_BYTES} bytes")
        parse_row(line, f"{where} line {number}")


def parse_row(line: bytes, where: str) -> dict[str, object]:
    """Parse one line of a `.jsonl` file.

    Raises:
        VerificationError: when it is not a JSON object.
    """
    row = strict_loads(line, where)
    if not isinstance(row, dict):
        raise VerificationError(where, expected="a JSON object", got=type(row).__name__)
    return row
