"""The files that a run makes along the way: a log that can be watched, and files written once.

They lie in the run folder until the artifact is published. A checkpoint names them with size and sha256, so that a
run which goes on from it finds them as they were: what came later is cut off, and nothing damaged is published.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align_contracts.durable import disk_errors, sync
from align_mlx.checkpoints import CHECKPOINTS, Journal, entry


class LiveFiles:
    """The live files of a run folder.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[int, str]] = {}
        self._sums: dict[str, Any] = {}
        self._new: set[str] = set()
        self._unsynced: set[str] = set()

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to a JSONL file; who reads it sees the row at once."""
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        path, (size, _) = self.folder / name, self._known.get(name, (0, ""))
        if name not in self._sums:
            self._sums[name] = hashlib.sha256(path.read_bytes() if size else b"")
        with disk_errors(path), path.open("ab") as file:
            file.write(line)
        self._sums[name].update(line)
        self._known[name] = size + len(line), self._sums[name].hexdigest()
        self._unsynced.add(name)

    def file(self, name: str) -> Path:
        """Give where to write a file that will not change any more; its folder is made."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._new.add(name)
        return path

    def journal(self) -> Journal:
        """Give size and sha256 of every file as it is now."""
        for name in self._new:
            self._known[name] = entry(self.folder / name)
        self._unsynced |= self._new
        self._new.clear()
        return dict(self._known)

    def sync(self) -> None:
        """Force to the disk what was written since the last time, names included."""
        for name in self._unsynced:
            sync(self.folder / name)
        for parent in {(self.folder / name).parent for name in self._unsynced}:
            sync(parent)
        self._unsynced.clear()

    def rewind(self, journal: Journal) -> None:
        """Make the folder what a journal says: cut what was appended since, remove what was made since."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir() or name.startswith(f"{CHECKPOINTS}/"):
                continue
            if name not in journal:
                path.unlink()
            elif path.stat().st_size > journal[name][0]:
                with path.open("r+b") as file:
                    file.truncate(journal[name][0])
        self._known = {name: (size, sha256) for name, (size, sha256) in journal.items()}
        self._sums.clear()
        self._new.clear()
