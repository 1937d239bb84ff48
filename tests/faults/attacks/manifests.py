"""Manifests that mislead their reader, and files whose content does what their name does not tell."""

import json
import pickle
from collections.abc import Callable
from typing import Any

from align_contracts.canonical import manifest_bytes
from faults.attacks.lair import Attack, Lair


def _raw(change: Callable[[bytes], bytes]) -> Attack:
    """Change the manifest's bytes; the sidecar fits."""
    return lambda lair: lair.seal(change((lair.root / "manifest.json").read_bytes()))


def _field(change: Callable[[dict[str, Any]], object]) -> Attack:
    """Change the manifest's fields; digests, bytes and sidecar fit."""
    return lambda lair: lair.forge(change)


def _field_raw(change: Callable[[dict[str, Any]], object]) -> Attack:
    """Change fields and leave the digests as they are."""

    def attack(lair: Lair) -> None:
        raw = json.loads((lair.root / "manifest.json").read_bytes())
        change(raw)
        lair.seal(manifest_bytes(raw))

    return attack


def _sidecar(change: Callable[[bytes], bytes]) -> Attack:
    def attack(lair: Lair) -> None:
        path = lair.root / "manifest.sha256"
        path.write_bytes(change(path.read_bytes()))

    return attack


def _content(name: str, data: bytes) -> Attack:
    def attack(lair: Lair) -> None:
        path = lair.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        lair.list_as(name, data)

    return attack


def _config(**keys: Any) -> Attack:
    return lambda lair: lair.put("config.json", json.dumps({"model_type": "gemma", **keys}).encode())


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


_FILE = {"path": "zz", "role": "r", "size": 0, "sha256": "0" * 64, "volatile": False}
_DIGESTS = {"content_digest": "0" * 64, "manifest_digest": "0" * 64}
_INPUT = {"role": "base", "kind": "base_model", "name": "base", "source": None, "revision": None, **_DIGESTS}

MANIFESTS: dict[str, Attack] = {
    "nothing": _raw(lambda data: b""),
    "a list": _raw(lambda data: b"[" + data + b"]"),
    "null": _raw(lambda data: b"null"),
    "cut short": _raw(lambda data: data[:-3]),
    "twice": _raw(lambda data: data + data),
    "a blank at the end": _raw(lambda data: data + b" "),
    "other line breaks": _raw(lambda data: data.replace(b"\n", b"\r\n")),
    "a byte order mark": _raw(lambda data: b"\xef\xbb\xbf" + data),
    "UTF-16": _raw(lambda data: data.decode().encode("utf-16")),
    "no UTF-8": _raw(lambda data: data.replace(b'"gemma"', b'"\xff"').replace(b'"sft"', b'"\xff"')),
    "a key twice": _raw(lambda data: data.replace(b"{\n", b'{\n"kind": "report",\n', 1)),
    "a key twice, escaped": _raw(lambda data: data.replace(b"{\n", b'{\n"k\\u0069nd": "report",\n', 1)),
    "NaN": _raw(lambda data: data.replace(b'"value":1.0', b'"value":NaN')),
    "infinity": _raw(lambda data: data.replace(b'"value":1.0', b'"value":1e999')),
    "a number of 10 000 digits": _raw(lambda data: data.replace(b'"seed":1', b'"seed":' + b"1" * 10_000)),
    "a number of a million digits": _raw(lambda data: data.replace(b'"seed":1', b'"seed":' + b"1" * 1_000_000)),
    "a million brackets": _raw(lambda data: data.replace(b'"extensions": {}', b'"extensions": ' + b"[" * 1_000_000)),
    "33 levels": _field(lambda raw: raw["extensions"].update(x=_nested(33))),
    "5 MiB": _field(lambda raw: raw["extensions"].update(x="x" * (5 * 2**20))),
    "a field more": _field(lambda raw: raw.update(run="rm -rf /")),
    "a field more below": _field(lambda raw: raw["files"][0].update(url="http://localhost/")),
    "a field fewer": _field(lambda raw: raw.pop("metrics")),
    "a kind that is none": _field(lambda raw: raw.update(kind="../policy")),
    "a kind as list": _field(lambda raw: raw.update(kind=["policy"])),
    "another kind": _field(lambda raw: raw.update(kind="dataset")),
    "a major of the future": _field(lambda raw: raw["schema_version"].update(major=99)),
    "a major of the past": _field(lambda raw: raw["schema_version"].update(major=0)),
    "a version as truth": _field(lambda raw: raw["schema_version"].update(major=True)),
    "a version as text": _field_raw(lambda raw: raw.update(schema_version="1.0")),
    "another schema": _field(lambda raw: raw.update(schema_id="other")),
    "a negative size": _field(lambda raw: raw["files"][0].update(size=-1)),
    "a size of 2^200": _field(lambda raw: raw["files"][0].update(size=2**200)),
    "a size as fraction": _field(lambda raw: raw["files"][0].update(size=float(raw["files"][0]["size"]))),
    "a size as text": _field(lambda raw: raw["files"][0].update(size=str(raw["files"][0]["size"]))),
    "a digest in capitals": _field(lambda raw: raw["files"][0].update(sha256=raw["files"][0]["sha256"].upper())),
    "a digest of another file": _field(lambda raw: raw["files"][0].update(sha256=raw["files"][1]["sha256"])),
    "a volatile flag as number": _field(lambda raw: raw["files"][0].update(volatile=0)),
    "a file too many": _field(lambda raw: raw["files"].append(_FILE)),
    "10 001 files": _field(
        lambda raw: raw.update(files=[{**_FILE, "path": f"{i:05}", "role": f"r{i}"} for i in range(10_001)])
    ),
    "files out of order": _field(lambda raw: raw["files"].reverse()),
    "a role twice": _field(lambda raw: raw["files"][1].update(role=raw["files"][0]["role"])),
    "a role with a slash": _field(lambda raw: raw["files"][0].update(role="../x")),
    "a metric twice": _field(lambda raw: raw["metrics"].append(raw["metrics"][0])),
    "tensors of no file": _field(lambda raw: raw["tensors"].append({**raw["tensors"][0], "file": "zz"})),
    "no tensors": _field(lambda raw: raw.update(tensors=[])),
    "details that name the outside": _field(lambda raw: raw["details"]["adapters"][0].update(file="../outside/secret")),
    "an input that is a path": _field(lambda raw: raw["inputs"].append({**_INPUT, "name": "../outside"})),
    "an input of the wrong kind": _field(lambda raw: raw["inputs"].append({**_INPUT, "kind": "report"})),
    "a settings digest that is wrong": _field(lambda raw: raw["config"].update(seed=2)),
    "a content digest that is wrong": _field_raw(lambda raw: raw.update(content_digest="0" * 64)),
    "a content digest of other seeds": _field_raw(lambda raw: raw["seeds"].append(7)),
    "no sidecar": lambda lair: (lair.root / "manifest.sha256").unlink(),
    "an empty sidecar": _sidecar(lambda data: b""),
    "a sidecar of another": _sidecar(lambda data: b"0" * 64 + data[64:]),
    "a sidecar in capitals": _sidecar(lambda data: data[:64].upper() + data[64:]),
    "a sidecar for another name": _sidecar(lambda data: data.replace(b"manifest.json", b"manifest.jsox")),
    "a sidecar with a second line": _sidecar(lambda data: data + data),
}
CONTENTS: dict[str, Attack] = {
    "a pickle as text": _content("zz.txt", pickle.dumps({"a": 1}, protocol=4)),
    "an old pickle as text": _content("zz.txt", b"cos\nsystem\n(S'true'\ntR."),
    "a zip as text": _content("zz.txt", b"PK\x03\x04" + b"\0" * 30),
    "a gzip as text": _content("zz.txt", b"\x1f\x8b\x08" + b"\0" * 30),
    "a tarball as text": _content("zz.txt", b"\0" * 257 + b"ustar" + b"\0" * 250),
    "a program as text": _content("zz.txt", b"\x7fELF" + b"\0" * 60),
    "a script as text": _content("zz.txt", b"#!/bin/sh\ntrue\n"),
    "a NumPy file as text": _content("zz.txt", b"\x93NUMPY\x01\x00"),
    "a JSON file with a key twice": _content("zz.json", b'{"a":1,"a":2}'),
    "a JSON file with NaN": _content("zz.json", b'{"a":NaN}'),
    "a JSON file of a million brackets": _content("zz.json", b"[" * 1_000_000),
    "a line that is no object": _content("zz.jsonl", b"{}\n[]\n"),
    "a line of a million brackets": _content("zz.jsonl", b"{}\n" + b"[" * 1_000_000 + b"\n"),
    "a config with code of its own": _config(auto_map={"AutoModel": "modeling.Model"}),
    "a config with a model file": _config(model_file="model.py"),
    "a config that trusts": _config(trust_remote_code=True),
    "a template that runs code": _content("zz.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"),
}
ATTACKS: dict[str, Attack] = {
    **{f"manifest: {name}": attack for name, attack in MANIFESTS.items()},
    **{f"content: {name}": attack for name, attack in CONTENTS.items()},
}
