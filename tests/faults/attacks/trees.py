"""What may lie in an artifact's directory, or change there while it is being verified."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from align_contracts import verify
from faults.attacks.lair import Attack, Lair, pack


def _link(name: str, to: str) -> Attack:
    """Replace a listed file or folder with a symbolic link."""

    def attack(lair: Lair) -> None:
        path = lair.root / name
        target = to.format(outside=lair.outside, root=lair.root)
        if path.is_dir():
            (path / "notes.md").unlink()
            path.rmdir()
        else:
            (lair.outside / path.name).write_bytes(path.read_bytes())  # the link leads to the very bytes listed
            path.unlink()
        path.symlink_to(target)

    return attack


def _hard_link(lair: Lair) -> None:
    (lair.outside / "notes2").write_bytes((lair.root / "sub/notes.md").read_bytes())
    (lair.root / "sub/notes.md").unlink()
    os.link(lair.outside / "notes2", lair.root / "sub/notes.md")


def _descriptor(lair: Lair) -> None:
    """A link through /proc to a file that this process holds open: no path leads out of the directory."""
    held = os.open(lair.outside / "notes.md", os.O_RDONLY)
    (lair.root / "sub/notes.md").unlink()
    (lair.root / "sub/notes.md").symlink_to(f"/proc/self/fd/{held}")


def _fifo(lair: Lair) -> None:
    (lair.root / "sub/notes.md").unlink()
    os.mkfifo(lair.root / "sub/notes.md")


def _socket(lair: Lair) -> None:
    (lair.root / "sub/notes.md").unlink()
    here = os.open(".", os.O_RDONLY)
    os.chdir(lair.root / "sub")  # the path of a socket is limited to about 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("notes.md")
    finally:
        os.fchdir(here)
        os.close(here)


def _device(lair: Lair) -> None:
    """An endless file; only root can make one, so others make a link to one."""
    path = lair.root / "sub/notes.md"
    path.unlink()
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _not_utf8(lair: Lair) -> None:
    with open(os.fsencode(lair.root) + b"/notes\xff.md", "wb") as file:
        file.write(b"x")


def _many(lair: Lair) -> None:
    (lair.root / "many").mkdir()
    for i in range(20_001):
        os.close(os.open(lair.root / f"many/{i}", os.O_CREAT | os.O_WRONLY))


def _deep(lair: Lair) -> None:
    here = os.open(lair.root, os.O_RDONLY)
    for _ in range(600):  # longer than any path may be: made and opened step by step
        os.mkdir("deeper-still", dir_fd=here)
        below = os.open("deeper-still", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def _sparse(lair: Lair) -> None:
    """A terabyte that takes no room, listed with its true size: its header claims all of it."""
    size = 2**40
    header = f'{{"lora":{{"dtype":"F32","shape":[{2**38}],"data_offsets":[0,{size}]}}}}'.encode()
    path = lair.root / "adapter.safetensors"
    path.write_bytes(pack(header, b""))
    os.truncate(path, 8 + len(header) + size - 1)  # one byte less than it claims
    lair.forge(
        lambda raw: (
            raw["files"][0].update(size=8 + len(header) + size - 1),
            raw.update(tensors=[{"file": path.name, "name": "lora", "dtype": "F32", "shape": [2**38]}]),
        )
    )


def _beside(name: str) -> Attack:
    def attack(lair: Lair) -> None:
        (lair.root / name).parent.mkdir(exist_ok=True)
        (lair.root / name).write_bytes(b"x")

    return attack


def _huge(name: str) -> Attack:
    return lambda lair: os.truncate(lair.root / name, 2**40)


ATTACKS: dict[str, Attack] = {
    "tree: a file is a link out": _link("sub/notes.md", "{outside}/notes.md"),
    "tree: a file is a relative link out": _link("config.json", "../outside/config.json"),
    "tree: weights are a link out": _link("adapter.safetensors", "{outside}/adapter.safetensors"),
    "tree: a file is a link inside": _link("config.json", "sub/notes.md"),
    "tree: a folder is a link out": _link("sub", "{outside}"),
    "tree: the manifest is a link out": _link("manifest.json", "{outside}/manifest.json"),
    "tree: the sidecar is a link out": _link("manifest.sha256", "{outside}/manifest.sha256"),
    "tree: a link to nowhere": _link("config.json", "nowhere"),
    "tree: a link to itself": _link("config.json", "config.json"),
    "tree: a folder links to its parent": _link("sub", "."),
    "tree: a link to a device": _link("config.json", "/dev/zero"),
    "tree: a link to an open descriptor": _descriptor,
    "tree: a hard link out": _hard_link,
    "tree: a FIFO": _fifo,
    "tree: a socket": _socket,
    "tree: a device": _device,
    "tree: a name that is not UTF-8": _not_utf8,
    "tree: 20 001 files": _many,
    "tree: 600 folders deep": _deep,
    "tree: a terabyte of weights that takes no room": _sparse,
    "tree: a manifest of a terabyte": _huge("manifest.json"),
    "tree: a sidecar of a terabyte": _huge("manifest.sha256"),
    "tree: an unlisted file": _beside("more.txt"),
    "tree: an unlisted hidden file": _beside(".hidden"),
    "tree: an unlisted file below": _beside("sub/more.txt"),
    "tree: code that nobody listed": _beside("modeling.py"),
    "tree: an unlisted folder": lambda lair: (lair.root / "empty").mkdir(),
}


def _swap(lair: Lair, name: str) -> None:
    """Put a link to the outside where a listed file or folder was."""
    path, away = lair.root / name, lair.root.parent / "away"
    path.rename(away)
    path.symlink_to(lair.outside if away.is_dir() else lair.outside / "notes.md")


def _during(step: str, name: str) -> Callable[[Lair], Any]:
    """Swap just after (listing) or before (parsing, opening) a step of the verification, once."""

    def race(lair: Lair) -> Any:
        real, done = getattr(verify, step), []

        def racing(*arguments: object) -> object:
            if step != "list_tree" and not done and Path(lair.root / name).exists():
                done.append(_swap(lair, name))
            result = real(*arguments)
            if step == "list_tree" and not done:
                done.append(_swap(lair, name))
            return result

        return patch.object(verify, step, racing)

    return race


RACES: dict[str, Callable[[Lair], Any]] = {
    f"race: {name} becomes a link out, {when}": _during(step, name)
    for step, when in (
        ("list_tree", "after listing"),
        ("check_tensors", "before headers are read"),
        ("check_content", "after opening"),
        ("_rust_parse", "before the parser"),
    )
    for name in ("adapter.safetensors", "config.json", "sub", "manifest.json")
}
"""Verification may end well where the swap came too late to matter; the outside stays unopened in any case."""
