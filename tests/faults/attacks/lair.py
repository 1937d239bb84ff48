"""Where attacks are prepared: a copy of an honest artifact, a way to forge its manifest, and a treasure outside."""

import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_contracts import publish
from align_contracts.canonical import manifest_bytes
from align_contracts.manifest import content_digest
from align_contracts.verify import sidecar_bytes

ADAPTER = {"name": "sft", "file": "adapter.safetensors", "rank": 1, "alpha": 1.0, "layers": 1, "targets": ["q_proj"]}
HEADER = {"lora": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
Attack = Callable[["Lair"], None]


def pack(header: Any, body: bytes = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)) -> bytes:
    """Write a safetensors file from a header, as JSON or as bytes, and the bytes of its tensors."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@dataclass
class Lair:
    """One attack's own directory.

    Attributes:
        root: a copy of the honest artifact, to be spoiled.
        outside: a folder beside it that nothing may open; its file `secret` holds JSON.
    """

    root: Path
    outside: Path

    @property
    def secret(self) -> Path:
        """The treasure."""
        return self.outside / "secret"

    def forge(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the manifest and make its digests, bytes and sidecar right again."""
        raw = json.loads((self.root / "manifest.json").read_bytes())
        change(raw)
        raw["content_digest"] = content_digest(raw)
        self.seal(manifest_bytes(raw))

    def seal(self, data: bytes) -> None:
        """Write these bytes as the manifest, with a fitting sidecar."""
        (self.root / "manifest.json").write_bytes(data)
        (self.root / "manifest.sha256").write_bytes(sidecar_bytes(data))

    def put(self, name: str, data: bytes) -> None:
        """Replace a listed file, and list what is there now."""
        (self.root / name).write_bytes(data)
        self.forge(lambda raw: next(f for f in raw["files"] if f["path"] == name).update(_facts(data)))

    def list_as(self, path: str, data: bytes) -> None:
        """List a file under a path, with the size and the digest of its bytes."""
        record = {"path": path, "role": "evil", "volatile": False, **_facts(data)}
        self.forge(lambda raw: raw.update(files=sorted([*raw["files"], record], key=lambda one: one["path"])))


def _facts(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def make_honest(path: Path) -> None:
    """Publish the artifact that all attacks begin with."""
    with publish(path, "policy", producer="align-contracts", config={"seed": 1}) as draft:
        draft.details = {"method": "sft", "form": "residual", "format": "chosen", "adapters": [ADAPTER]}
        draft.file("adapter.safetensors", role="adapter").write_bytes(pack(HEADER))
        draft.write_json("config.json", {"model_type": "gemma"}, role="config")
        draft.write_text("sub/notes.md", "notes\n", role="notes")
        draft.metric("loss", 1.0)


def make_lair(folder: Path, honest: Path) -> Lair:
    """Copy the honest artifact into a folder, and lay out the treasure."""
    lair = Lair(Path(shutil.copytree(honest, folder / "root")), folder / "outside")
    lair.outside.mkdir()
    lair.secret.write_text('{"secret": 1}')
    (lair.outside / "notes.md").write_text("notes\n")
    return lair
