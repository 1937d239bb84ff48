import bz2
import gzip
import io
import json
import lzma
import pickle
import pickletools
import tarfile
import zipfile
from pathlib import Path

import pytest

from align_contracts import VerificationError, hostile
from align_contracts.hostile import check_model_config, check_signature, check_template_file


class Bomb:
    """What a hostile pickle does: ask its reader to call a function of the writer's choice."""

    def __reduce__(self):
        return (print, ("owned",))


def archive(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("a", "x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("a"))
    return buffer.getvalue()


LOOKS_LIKE = {
    **{f"pickle {protocol}": (pickle.dumps(Bomb(), protocol), "a pickle") for protocol in range(6)},
    "pickle 0, import after other values": (pickle.dumps([1, "a", {"b": Bomb()}], 0), "a pickle"),
    "pickle 1, an old class": (b"(i__main__\nBomb\n.", "a pickle"),
    "plain values, protocol 2": (pickle.dumps([1.0], 2), "a pickle"),
    "zip": (archive("zip"), "a zip archive"),
    "tar": (archive("tar"), "an archive"),
    "gzip": (gzip.compress(b"x"), "a compressed file"),
    "bz2": (bz2.compress(b"x"), "a compressed file"),
    "xz": (lzma.compress(b"x"), "a compressed file"),
    "numpy": (b"\x93NUMPY\x01\x00", "a NumPy file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    "shebang": (b"#!/bin/sh\n", "a script"),
    "elf": (b"\x7fELF\x02\x01", "a program"),
    "mach-o": (b"\xcf\xfa\xed\xfe\x0c\0\0\x01", "a program"),
    "windows": (b"MZ\x90\0\x03", "a program"),
    "wasm": (b"\0asm\x01\0\0\0", "a program"),
}


@pytest.mark.parametrize("name", LOOKS_LIKE)
def test_programs_pickles_and_archives_by_their_bytes(name, capsys):
    data, what = LOOKS_LIKE[name]
    with pytest.raises(VerificationError, match=f"x.txt: it begins like {what}"):
        check_signature(io.BytesIO(data), "x.txt")
    assert capsys.readouterr().out == ""  # the bombs above would have printed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7",
        b"# Card\n",
        b"<!doctype html>",
        b"cats\ndogs\nbirds\n",  # two lines that a pickle would read as an import, and no pickle after them
        b"Very\n.5\n",  # reads as a pickle of the plain text "ery"
        pickletools.optimize(pickle.dumps([1, 2], 0)),  # plain values: nothing to import, and also just text
        "Žluťoučký kůň".encode(),
    ],
)
def test_data_files_pass(data):
    check_signature(io.BytesIO(data), "x.txt")


def test_the_readmes_of_this_repository_pass():
    for path in Path(__file__).parents[2].glob("*.md"):
        with open(path, "rb") as file:
            check_signature(file, path.name)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"auto_map": {"AutoModel": "model.Model"}}, "auto_map"),
        ({"auto_map": "maker/model--model.Model"}, "auto_map"),
        ({"model_file": "model.py"}, "model_file"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"text_config": {"auto_map": {"AutoModel": "a.B"}}}, "auto_map"),
        ({"parts": [[{"custom_pipelines": {"x": {"impl": "x.X"}}}]]}, "custom_pipelines"),
    ],
)
def test_configs_that_ask_for_code(config, key):
    with pytest.raises(VerificationError, match=rf"config.json: it asks for remote code \({key}\)"):
        check_model_config(io.BytesIO(json.dumps(config).encode()), "config.json")


def test_configs_that_do_not():
    config = {"model_type": "gemma", "auto_map": None, "trust_remote_code": False, "x": [{"a": "auto_map"}, 1]}
    check_model_config(io.BytesIO(json.dumps(config).encode()), "config.json")


ESCAPE = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
PLAIN = "{% for m in messages %}{{ '<start_of_turn>' + m['role'] | trim }}{% endfor %}"


@pytest.mark.parametrize("template", [ESCAPE, [{"name": "default", "template": ESCAPE}], {"default": [ESCAPE]}])
def test_templates_that_reach_for_python(template):
    config = json.dumps({"chat_template": template}).encode()
    with pytest.raises(VerificationError, match=r"tokenizer_config.json \(chat_template\): .* \(__class__\)"):
        check_model_config(io.BytesIO(config), "tokenizer_config.json")
    with pytest.raises(VerificationError, match=r"a.jinja: .* \(__class__\)"):
        check_template_file(io.BytesIO(ESCAPE.encode()), "a.jinja")


def test_other_templates_pass():
    for template in (PLAIN, [{"name": "default", "template": PLAIN}], None):
        check_model_config(io.BytesIO(json.dumps({"chat_template": template}).encode()), "tokenizer_config.json")
    check_template_file(io.BytesIO(PLAIN.encode() + b"\xff"), "a.jinja")


def test_limits(monkeypatch):
    monkeypatch.setattr(hostile, "MAX_CONFIG_BYTES", 1)
    for check in (check_model_config, check_template_file):
        with pytest.raises(VerificationError, match="too large: expected at most 1 bytes"):
            check(io.BytesIO(b"{}"), "config.json")
