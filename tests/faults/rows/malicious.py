"""Artifacts made by an attacker: all refused in a sentence, nothing outside opened, and no fuzz makes a crash."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import safetensors

from align_contracts import open_artifact
from align_contracts.errors import AlignError
from faults.attacks import headers, manifests, paths, trees
from faults.attacks.lair import Attack, Lair, make_honest, make_lair
from faults.attacks.watch import watched
from faults.row import BrokenPromiseError, Count, Row, sentence, tally

GROUPS = {"by paths": paths, "by what lies there": trees, "by headers": headers, "by manifests and contents": manifests}
ATTACKS: dict[str, Attack] = {name: attack for group in GROUPS.values() for name, attack in group.ATTACKS.items()}
FUZZED = ("manifest.json", "adapter.safetensors", "config.json", "manifest.sha256")
NASTY = (b"\0", b"\xff", b"{", b"}", b"[" * 40, b'"', b"\\u", b"-1", b"1e999", b"NaN", b"null", b"9" * 50, b"../", b",")
LOADED = (numpy, safetensors)
"""What deep verification imports: loaded before opened files are watched."""
PATIENCE = 10.0
"""Seconds after which a refusal counts as a denial of service."""


def run(scratch: Path, tries: int, seed: int) -> Count:
    """Try every attack and every race, then ten times `tries` random changes with right digests."""
    honest = scratch / "honest"
    make_honest(honest)
    open_artifact(honest, deep=True)
    found = [attempt(scratch, honest, name) for name in ATTACKS]
    found += [_race(scratch, honest, name) for name in trees.RACES]
    found += [_fuzz(scratch, honest, f"{seed} {number}") for number in range(10 * tries)]
    listed = ", ".join(f"{len(group.ATTACKS)} {name}" for name, group in GROUPS.items())
    return tally(found, (f"{len(ATTACKS)} attacks ({listed}), {len(trees.RACES)} races, {10 * tries} random changes",))


def attempt(scratch: Path, honest: Path, name: str) -> str | None:
    """Try one attack by name; a sentence if it is not refused as it should be."""

    def judge(lair: Lair) -> None:
        ATTACKS[name](lair)
        if (said := _open(lair)) is None:
            raise BrokenPromiseError("it is accepted")
        if "\n" in said or not said.isprintable():
            raise BrokenPromiseError(f"its refusal is no printable line: {said!a:.200}")

    return _in_lair(scratch, honest, name, judge)


def _race(scratch: Path, honest: Path, name: str) -> str | None:
    def judge(lair: Lair) -> None:
        with trees.RACES[name](lair):
            _open(lair)

    return _in_lair(scratch, honest, name, judge)


def _fuzz(scratch: Path, honest: Path, seed: str) -> str | None:
    """Change a file at random, reseal what can be resealed, and open it: refused or not, it is no crash."""
    randomness = random.Random(seed)

    def judge(lair: Lair) -> None:
        name = randomness.choice(FUZZED)
        data = bytearray((lair.root / name).read_bytes())
        for _ in range(randomness.randint(1, 4)):
            at, length = randomness.randrange(len(data) + 1), randomness.choice((0, 0, 1, 8))
            data[at : at + length] = randomness.choice((*NASTY, bytes([randomness.randrange(256)]), bytes(data[:at])))
        if name == "manifest.json":
            lair.seal(bytes(data))
        elif name == "manifest.sha256":
            (lair.root / name).write_bytes(data)
        else:
            lair.put(name, bytes(data))
        _open(lair)

    return _in_lair(scratch, honest, f"random change {seed}", judge)


def _in_lair(scratch: Path, honest: Path, name: str, judge: Callable[[Lair], None]) -> str | None:
    folder = scratch / "lair"
    folder.mkdir()
    try:
        lair = make_lair(folder, honest)
        return sentence(name, lambda: judge(lair))
    finally:
        shutil.rmtree(folder)


def _open(lair: Lair) -> str | None:
    """Open and verify deeply; give the refusal's words, or None.

    Raises:
        BrokenPromiseError: something outside was opened, it took long, or the error was not a refusal.
    """
    began = time.monotonic()
    with watched(lair.root, lair.outside) as opened:
        try:
            open_artifact(lair.root, deep=True)
            said = None
        except AlignError as error:
            said = str(error)
        except BaseException as error:
            raise BrokenPromiseError(f"a crash: {type(error).__name__}: {error}") from error
    if opened:
        raise BrokenPromiseError(f"opened outside: {', '.join(opened)}")
    if (seconds := time.monotonic() - began) > PATIENCE:
        raise BrokenPromiseError(f"it took {seconds:.0f} s")
    return said


ROWS = (Row("malicious", "hostile artifacts: refused in a sentence, nothing outside opened, no crash", 60, run),)
