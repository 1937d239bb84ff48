"""Safetensors headers that lie: each file has the size and digest that the manifest lists."""

import json
import struct
from typing import Any

from faults.attacks.lair import Attack, Lair, pack

BODY = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)


def _entry(**changes: Any) -> dict[str, Any]:
    return {"lora": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}}


def _two(first: list[int], second: list[int]) -> dict[str, Any]:
    return {
        name: {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
        for name, (begin, end) in {"a": first, "b": second}.items()
    }


_SAME = b'"lora":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
FILES: dict[str, bytes] = {
    "a hole": pack(_two([0, 4], [8, 16])),
    "a hole in front": pack(_two([4, 8], [8, 16])),
    "an overlap": pack(_two([0, 12], [8, 16])),
    "two tensors on the same bytes": pack(_two([0, 16], [0, 16])),
    "one inside another": pack(_two([0, 16], [4, 8])),
    "a tail": pack(_entry(), BODY + b"\0"),
    "a missing byte": pack(_entry(), BODY[:-1]),
    "no bytes at all": pack(_entry(), b""),
    "beyond the end": pack(_entry(shape=[2, 3], data_offsets=[0, 24])),
    "beyond 2^63": pack(_entry(shape=[2**61], data_offsets=[0, 2**63])),
    "a product that overflows to 16": pack(_entry(shape=[2**32, 2**32 + 1], data_offsets=[0, 16])),
    "a product that overflows to 0": pack(_entry(shape=[2**32, 2**32], data_offsets=[0, 0]), b""),
    "a size that wraps around": pack(_entry(shape=[2**62 + 4], data_offsets=[0, 16])),
    "a number of 4 000 digits": pack(json.dumps(_entry()).replace("16", "1" * 4000).encode()),
    "a number of 100 000 digits": pack(json.dumps(_entry()).replace("16", "1" * 100_000).encode()),
    "a shape of a million axes": pack(_entry(shape=[1] * 1_000_000, data_offsets=[0, 4])),
    "17 axes": pack(_entry(shape=[1] * 16 + [4])),
    "a negative size": pack(_entry(shape=[-2, -2])),
    "negative offsets": pack(_entry(data_offsets=[-16, 0])),
    "offsets the wrong way round": pack(_entry(data_offsets=[16, 0])),
    "three offsets": pack(_entry(data_offsets=[0, 8, 16])),
    "one offset": pack(_entry(data_offsets=[16])),
    "offsets as text": pack(_entry(data_offsets=["0", "16"])),
    "offsets as fractions": pack(_entry(data_offsets=[0.0, 16.0])),
    "a size as fraction": pack(_entry(shape=[2, 2.0])),
    "a size as truth": pack(_entry(shape=[True, 4])),
    "a size as text": pack(_entry(shape=["4"])),
    "a shape as object": pack(_entry(shape={"0": 4})),
    "no shape": pack(_entry(shape=None)),
    "an unknown type": pack(_entry(dtype="F31")),
    "a type as list": pack(_entry(dtype=["F32"])),
    "a type of other size": pack(_entry(dtype="F64")),
    "a field more": pack(_entry(device="cuda")),
    "a tensor as list": pack({"lora": [0, 16]}),
    "a tensor as null": pack({"lora": None}),
    "a tensor twice": pack(b"{" + _SAME + b"," + _SAME + b"}"),
    "a tensor twice, escaped": pack(b"{" + _SAME + b"," + _SAME.replace(b"lora", b"\\u006cora") + b"}"),
    "offsets twice": pack(b"{" + _SAME[:-1] + b',"data_offsets":[0,16]}}'),
    "metadata twice": pack(b'{"__metadata__":{},"__metadata__":{},' + _SAME + b"}"),
    "metadata that are no texts": pack({"__metadata__": {"a": 1}, **_entry()}),
    "metadata in metadata": pack({"__metadata__": {"a": {"b": "c"}}, **_entry()}),
    "metadata as list": pack({"__metadata__": ["a"], **_entry()}),
    "not a number": pack(json.dumps(_entry()).replace("16", "NaN").encode()),
    "infinity": pack(json.dumps(_entry()).replace("16", "1e999").encode()),
    "no JSON": pack(b"{lora}"),
    "JSON cut short": pack(json.dumps(_entry()).encode()[:-1]),
    "JSON and more": pack(json.dumps(_entry()).encode() + b"{}"),
    "a list": pack(b"[" + json.dumps(_entry()).encode() + b"]"),
    "a blank in front": pack(b" " + json.dumps(_entry()).encode()),
    "a byte order mark": pack(b"\xef\xbb\xbf" + json.dumps(_entry()).encode()),
    "UTF-16": pack(json.dumps(_entry()).encode("utf-16")),
    "no UTF-8": pack(json.dumps(_entry()).encode().replace(b"lora", b"\xff\xfe\xfd\xfc")),
    "a lone surrogate": pack(json.dumps(_entry()).encode().replace(b"lora", b"\\ud800")),
    "1 000 levels deep": pack(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "a million brackets": pack(b'{"a":' + b"[" * 1_000_000),
    "100 001 tensors": pack(
        {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_001)}, b""
    ),
    "a length of nothing": struct.pack("<Q", 0) + BODY,
    "a length of one": struct.pack("<Q", 1) + b"{" + BODY,
    "a length beyond the file": struct.pack("<Q", 10_000) + b"{}" + BODY,
    "a length of 2^64 - 1": b"\xff" * 8 + b"{}" + BODY,
    "a length of 2^63": struct.pack("<Q", 2**63) + b"{}" + BODY,
    "a header of 17 MiB": struct.pack("<Q", 17 * 2**20) + b"{" + b" " * (17 * 2**20 - 2) + b"}",
    "seven bytes": b"\x10" + b"\0" * 6,
    "an empty file": b"",
    "a name that is not the listed one": pack({"other": _entry()["lora"]}),
    "a shape that is not the listed one": pack(_entry(shape=[4])),
    "a type that is not the listed one": pack(_entry(dtype="I32")),
    "NaN among the weights": pack(_entry(), BODY[:12] + b"\0\0\xc0\x7f"),
    "infinity among the weights": pack(_entry(), BODY[:12] + b"\0\0\x80\x7f"),
    "a pickle": b"\x80\x04\x95" + BODY,
    "a zip": b"PK\x03\x04" + BODY,
}


def _written(data: bytes) -> Attack:
    def attack(lair: Lair) -> None:
        lair.put("adapter.safetensors", data)

    return attack


ATTACKS: dict[str, Attack] = {f"header: {name}": _written(data) for name, data in FILES.items()}
