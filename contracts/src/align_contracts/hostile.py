"""What no data file may be: a program, a pickle or an archive, a config that asks for code, a template that does.

Names are checked in `paths`; this looks at the bytes, so that a renamed file does not pass. Nothing is executed:
pickles are read as a list of instructions by `pickletools`, templates as text.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from align_contracts.canonical import strict_loads
from align_contracts.errors import VerificationError

MAX_CONFIG_BYTES = 4 * 2**20
_WINDOW = 64 * 2**10

_SIGNATURES = {
    "a pickle": tuple(bytes((0x80, protocol)) for protocol in range(6)),
    "a zip archive": (b"PK\x03\x04", b"PK\x05\x06"),
    "a compressed file": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a"),
    "a NumPy file": (b"\x93NUMPY",),
    "an HDF5 file": (b"\x89HDF",),
    "a script": (b"#!",),
    "a program": (b"\x7fELF", b"MZ\x90\0", b"\0asm", b"\xca\xfe\xba\xbe", b"!<arch>\n"),
    "a program of macOS": (b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe"),
}
_TAR = (257, b"ustar")
_IMPORTS = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
"""Instructions by which a pickle names something to import; without one it can only hold plain values."""

_CODE_KEYS = ("auto_map", "model_file", "custom_pipelines", "trust_remote_code")
_TEMPLATE_KEY = "chat_template"
_DUNDER = re.compile(r"__[A-Za-z]+__")


def check_signature(file: BinaryIO, where: str) -> None:
    """Refuse a file that begins like a program, a pickle or an archive, whatever its name.

    Args:
        file: the open file, at its start.
        where: name for messages.

    Raises:
        VerificationError: saying what it looks like.
    """
    start = file.read(_WINDOW)
    found = next((what for what, magic in _SIGNATURES.items() if start.startswith(magic)), None)
    if start[_TAR[0] :].startswith(_TAR[1]):
        found = "an archive (tar)"
    elif found is None and _is_text_pickle(start):
        found = "a pickle"
    if found:
        raise VerificationError(f"{where}: it begins like {found}", do="An artifact holds data files only")


def _is_text_pickle(start: bytes) -> bool:
    """Say whether the bytes are a pickle of protocol 0 or 1, which has no magic number, that imports something."""
    seen = set()
    try:
        for instruction, _, _ in pickletools.genops(start):
            seen.add(instruction.name)
    except Exception:  # it raises many kinds on what is no pickle, and nearly everything is none
        return False
    return bool(seen & _IMPORTS)


def check_model_config(file: BinaryIO, where: str) -> None:
    """Refuse a config that asks its loader to run code, at any depth: `auto_map`, `trust_remote_code`, a template.

    Args:
        file: an open `*config.json`.
        where: name for messages.

    Raises:
        VerificationError: naming the key.
    """
    data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise VerificationError(f"{where}: too large", expected=f"at most {MAX_CONFIG_BYTES} bytes")
    for key, value in _items(strict_loads(data, where)):
        if key in _CODE_KEYS and value not in (None, False):
            raise VerificationError(
                f"{where}: it asks for remote code ({key})", do="Remove the key, if the model needs no code of its own"
            )
        if key == _TEMPLATE_KEY:
            for text in _texts(value):
                _check_template(text, f"{where} ({key})")


def check_template_file(file: BinaryIO, where: str) -> None:
    """Refuse a chat template that reaches for the inside of Python objects (`__class__` and its like).

    A sandbox refuses them too when the template is rendered; not every reader has one.

    Args:
        file: an open `*.jinja`.
        where: name for messages.
    """
    data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise VerificationError(f"{where}: too large", expected=f"at most {MAX_CONFIG_BYTES} bytes")
    _check_template(data.decode("utf-8", errors="replace"), where)


def _check_template(text: str, where: str) -> None:
    if match := _DUNDER.search(text):
        raise VerificationError(f"{where}: the chat template reaches for Python's inside ({match[0][:40]})")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of every object, at any depth; `strict_loads` has bounded the depth."""
    if isinstance(value, dict):
        yield from value.items()
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _items(inner)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text of a value, at any depth: a template, or a list of named ones."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
