"""Canonical JSON, the digests made from it, and strict reading of JSON that others wrote.

Canonical bytes: UTF-8, keys sorted by code point, no spaces, no NaN or infinity. A manifest follows the same
rules, with a line for each top-level field and for each element of a top-level list, so that people can read
and compare it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn

from pydantic import BaseModel

from align_contracts.errors import ConfigError, VerificationError

MAX_DEPTH = 32
"""Deepest nesting of arrays and objects in any JSON of an artifact."""

# Possessive (`*+`): it never goes back, so a long string costs no memory; a plain `*` took 120 bytes a character.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)


def to_json(value: Any, where: str = "value") -> Any:
    """Turn models, paths, enums and tuples into plain JSON values; refuse what has no exact JSON form.

    Args:
        value: a pydantic model, mapping, sequence, path, enum or JSON scalar, nested at will.
        where: name used in the message, grown by each key on the way down.

    Returns:
        The same content from dict, list, str, int, float, bool and None only.

    Raises:
        ConfigError: for NaN, infinity, non-string keys and other types.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ConfigError(f"{where}: key {key!r}", expected="a string", got=type(key).__name__)
        return {key: to_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(where, expected="a finite number", got=value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(where, expected="a JSON value", got=type(value).__name__)


def canonical_bytes(value: Any) -> bytes:
    """Return the one byte form of a JSON value (see the module's text).

    Args:
        value: plain JSON (see `to_json`).

    Returns:
        UTF-8 bytes without a final line break.

    Raises:
        VerificationError: for NaN, infinity, lone surrogates and values that are not JSON.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise VerificationError("this value has no canonical JSON form", got=error) from error


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the canonical file content of a manifest: sorted fields, one a line; list elements one a line.

    Args:
        manifest: the manifest as plain JSON.

    Returns:
        UTF-8 bytes that end with a line break.
    """
    fields = []
    for key in sorted(manifest):
        value = manifest[key]
        if isinstance(value, list) and value:
            body = b"[\n  " + b",\n  ".join(canonical_bytes(item) for item in value) + b"\n]"
        else:
            body = canonical_bytes(value)
        fields.append(canonical_bytes(key) + b": " + body)
    return b"{\n" + b",\n".join(fields) + b"\n}\n"


def sha256_bytes(data: bytes) -> str:
    """Return the sha256 of bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """Return the sha256 of the canonical bytes of a JSON value, 64 hexadecimal digits."""
    return sha256_bytes(canonical_bytes(value))


def json_depth(data: bytes) -> int:
    """Return how deep arrays and objects nest in JSON text, without parsing it.

    Brackets inside strings do not count. Text with at most `MAX_DEPTH` opening brackets is not scanned: its
    number of brackets, which bounds the depth, is returned.
    """
    brackets = data.count(b"[") + data.count(b"{")
    if brackets <= MAX_DEPTH:
        return brackets
    depth = deepest = 0
    for match in _TOKEN.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in b"]}":
            depth -= 1
    return deepest


def strict_loads(data: bytes, where: str) -> Any:
    """Parse JSON that may be hostile: UTF-8 and whole characters only, no duplicate keys, no NaN, at most 32 levels.

    Args:
        data: the JSON text.
        where: name of the file (and line) for the message.

    Returns:
        The parsed value.

    Raises:
        VerificationError: naming `where`, whatever is wrong.
    """

    def refuse(number: str) -> NoReturn:
        raise VerificationError(f"{where}: a number", expected="finite", got=number[:40])

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else refuse(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise VerificationError(f"{where}: the key {twice[:80]!r} appears twice")
        return found

    if (depth := json_depth(data)) > MAX_DEPTH:
        raise VerificationError(f"{where}: nested too deep", expected=f"at most {MAX_DEPTH} levels", got=depth)
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=unique)
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except VerificationError:
        raise
    except UnicodeDecodeError as error:
        raise VerificationError(f"{where}: byte {error.start} is not UTF-8") from error
    except UnicodeEncodeError as error:
        raise VerificationError(f"{where}: half of a surrogate pair, which is no character") from error
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{where}: not valid JSON ({error})") from error
