"""Paths that lead, or could lead somewhere, out of an artifact, as its manifest lists them."""

import contextlib

from faults.attacks.lair import Attack, Lair

_OUT = "../outside/secret"
LISTED = {
    "absolute": "{secret}",
    "absolute with two slashes": "/{secret}",
    "up": _OUT,
    "up from below": "sub/../../outside/secret",
    "up and back": "sub/../sub/notes.md",
    "here": "./config.json",
    "here in between": "sub/./notes.md",
    "two slashes": "sub//notes.md",
    "a slash at the end": "config.json/",
    "nothing": "",
    "only a slash": "/",
    "only two dots": "..",
    "only a dot": ".",
    "home": "~/../x/..",
    "a backslash": "sub\\notes.md",
    "up with backslashes": "..\\outside\\secret",
    "a drive": "C:\\Windows\\win.ini",
    "a drive with slashes": "C:/Windows/win.ini",
    "relative to a drive": "c:secret",
    "a network share": "\\\\server\\share\\x",
    "a second stream": "config.json:stream",
    "a device of Windows": "sub/..\\NUL",
    "NUL": "config.json\0.txt",
    "a line break": "config\n.json",
    "a carriage return": "config\r.json",
    "a tab": "config\t.json",
    "an escape sequence": "\x1b[2Jconfig.json",
    "delete": "config\x7f.json",
    "right-to-left override": "config\u202enosj.txt",
    "left-to-right isolate": "config\u2066.json",
    "a zero-width space": "config\u200b.json",
    "a zero-width joiner": "config\u200d.json",
    "a byte order mark": "\ufeffconfig.json",
    "a soft hyphen": "con\u00adfig.json",
    "a lone surrogate": "config\ud800.json",
    "private use": "config\ue000.json",
    "unassigned": "config\u0378.json",
    "decomposed": "cafe\u0301.txt",
    "a compatibility twin": "\u212bngstrom.txt",
    "a space in front": " config.json",
    "a space at the end": "config.json ",
    "a dot at the end": "config.json.",
    "a folder with a space": "sub /notes.md",
    "a folder with a dot": "sub./notes.md",
    "a name of 256 bytes": "x" * 256,
    "a name of 256 bytes in 128 characters": "é" * 128,
    "a path above 1024 bytes": "/".join(["x" * 200] * 6),
    "the manifest": "manifest.json",
    "the manifest in capitals": "MANIFEST.JSON",
    "the sidecar": "Manifest.sha256",
    "below the manifest": "manifest.json/x",
    "another case": "Config.json",
    "another case of a folder": "SUB/notes2.md",
    "a file as a folder": "config.json/x",
    "a listed file again": "config.json",
    "Python": "model.py",
    "Python in capitals": "model.PY",
    "byte code": "sub/model.pyc",
    "a library": "model.so",
    "a library of Windows": "model.dll",
    "a shell script": "run.sh",
    "a notebook": "model.ipynb",
    "a pickle": "weights.pkl",
    "PyTorch": "weights.pt",
    "PyTorch's bin": "pytorch_model.bin",
    "NumPy": "weights.npy",
    "HDF5": "weights.h5",
    "a zip": "weights.zip",
    "a tarball": "weights.tar.gz",
    "a wheel": "model.whl",
}
"""Paths by what is wrong with them; ``{secret}`` is the treasure's own."""


def _listed(path: str) -> Attack:
    def attack(lair: Lair) -> None:
        where, data = path.replace("{secret}", str(lair.secret)), lair.secret.read_bytes()
        with contextlib.suppress(OSError, ValueError):  # a name that no file system takes is listed all the same
            target = lair.root / where
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        try:
            lair.list_as(where, data)
        except Exception:  # no canonical form: an attacker would write these bytes by hand
            escaped = where.encode("ascii", "backslashreplace")
            lair.list_as("zz-to-be-replaced", data)
            lair.seal((lair.root / "manifest.json").read_bytes().replace(b"zz-to-be-replaced", escaped))

    return attack


ATTACKS: dict[str, Attack] = {f"path: {name}": _listed(path) for name, path in LISTED.items()}
