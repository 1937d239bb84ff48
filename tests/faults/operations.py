"""What a run does that must survive a fault: publishing anew, over what is there, and saving a training state.

Each saves a version of a state in a folder; reading it back verifies everything and tells which version it is.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import safetensors.numpy  # loaded by deep verification: here once, instead of in every child

from align_contracts import durable, open_artifact, publish

NAME = "x"
"""The artifact's name in its folder."""


@dataclass(frozen=True)
class Operation:
    """One way of saving a state.

    Attributes:
        name: for messages.
        save: (folder, version): save this version.
        read: the version that is there, verified whole; None if there is none yet. Raises if it is damaged.
        strays: names that do not belong in the folder when nothing is going on.
        fresh: whether there is nothing before.
        ahead: whether after an error the new version may be there: it came before, in clearing away the oldest.
        recover: what the next start does first, where a reader does not find a state at every moment before it.
    """

    name: str
    save: Callable[[Path, int], None]
    read: Callable[[Path], int | None]
    strays: Callable[[Path], list[str]]
    fresh: bool = False
    ahead: bool = False
    recover: Callable[[Path], None] = lambda folder: None


def publish_version(folder: Path, version: int) -> None:
    """Publish an artifact in which every file tells the version."""
    config = {"version": version}
    with publish(folder / NAME, "report", producer="align-contracts", config=config, overwrite=True) as draft:
        draft.details = {"runs": version, "methods": {}}
        draft.write_text("text/words.md", f"version {version}\n" * 1000, role="words")
        draft.write_jsonl("rows.jsonl", [{"version": version}] * 1000, role="rows")
        draft.file("weights.safetensors", role="weights").write_bytes(safetensors(version))


def published_version(folder: Path) -> int | None:
    """Read the version of the artifact that is there, after deep verification of all of it.

    Raises:
        AlignError: it is damaged.
        ValueError: its files tell different versions.
    """
    target = folder / NAME
    if not target.exists():
        return None
    artifact = open_artifact(target, deep=True)
    version = int(artifact.details.runs)
    told = {
        artifact.manifest.config["version"],
        int(artifact.file("words").read_text().split()[1]),
        *(row["version"] for row in artifact.read_jsonl("rows")),
        int(struct.unpack("<f", artifact.file("weights").read_bytes()[-4:])[0]),
    }
    if told != {version}:
        raise ValueError(f"its files are of versions {told | {version}}")
    return version


def safetensors(value: float, size: int = 20_000) -> bytes:
    """Write a file of one tensor with equal elements."""
    header = f'{{"w":{{"dtype":"F32","shape":[{size}],"data_offsets":[0,{4 * size}]}}}}'.encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", value) * size


def beside(folder: Path) -> list[str]:
    """Name everything in a folder but the artifact."""
    return sorted(path.name for path in folder.iterdir() if path.name != NAME)


@contextlib.contextmanager
def without_exchange() -> Iterator[None]:
    """Be on a file system that cannot swap two names in one step."""
    with patch.object(durable, "exchange", lambda first, second: False):
        yield


def clean(folder: Path) -> None:
    """Do what publishing does first."""
    with durable.locked(folder / NAME):
        durable.clean_stale(folder / NAME)


def _publish_by_two_renames(folder: Path, version: int) -> None:
    with without_exchange():
        publish_version(folder, version)


PUBLISHING = (
    Operation("publish", publish_version, published_version, beside, fresh=True),
    Operation("publish over", publish_version, published_version, beside),
    Operation("publish over by two renames", _publish_by_two_renames, published_version, beside, recover=clean),
)
