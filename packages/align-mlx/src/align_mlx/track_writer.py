"""The process that hands a run's numbers to a tracker: started by `align_mlx.tracking`, which feeds it lines of JSON.

    python -P track_writer.py TRACKER FOLDER NAME SETTINGS < lines

It stands alone, needs nothing of align, and may hang, fail or be killed: the run does not wait for it. A line is
``{"kind": "train", "step": 3, "values": {"train/loss": 1.5}}``. Steps that an earlier process of the same run has
handed on are left out, so that a resumed run doubles no point; a run that begins anew at its first step is a new run.

The files of TensorBoard are written here: a length, its checksum, an event and its checksum (TFRecord with CRC-32C, RFC
3720), the event in protocol buffers. That is all it takes, and TensorBoard itself is needed only to look at them.
"""

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

LAST_WORDS = 60
"""Seconds for a tracker to finish once the run has ended."""


class TensorBoard:
    """Event files in ``FOLDER/tensorboard/RUN``."""

    def __init__(self, folder: Path, run: str):
        place = folder / "tensorboard" / run
        place.mkdir(parents=True, exist_ok=True)
        self.file: BinaryIO = open(place / f"events.out.tfevents.{time.time():.6f}.{os.getpid()}", "wb")  # noqa: SIM115
        self._write(_text(3, "brain.Event:2"))

    def log(self, values: dict[str, float], step: int) -> None:
        """Write one event."""
        summary = b"".join(_bytes(1, _text(1, name) + struct.pack("<Bf", 0x15, x)) for name, x in values.items())
        self._write(b"\x10" + _varint(step) + _bytes(5, summary))

    def finish(self) -> None:
        """Close the file."""
        self.file.close()

    def _write(self, fields: bytes) -> None:
        event = struct.pack("<Bd", 0x09, time.time()) + fields
        length = struct.pack("<Q", len(event))
        self.file.write(length + _checksum(length) + event + _checksum(event))
        self.file.flush()


class Trackio:
    """trackio's own database in ``FOLDER/trackio``, unless TRACKIO_DIR names another place."""

    def __init__(self, folder: Path, run: str):
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
        import trackio  # type: ignore[import-not-found, unused-ignore]

        self.run = trackio.init(project="align", name=run, resume="allow", embed=False)
        self.finish = trackio.finish

    def log(self, values: dict[str, float], step: int) -> None:
        """Hand on one step."""
        self.run.log(values, step=step)


class WandB:
    """Weights & Biases; offline, in ``FOLDER/wandb``, unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, run: str):
        os.environ.setdefault("WANDB_MODE", "offline")
        import wandb  # type: ignore[import-not-found, unused-ignore]

        self.run = wandb.init(project="align", name=run, id=run, resume="allow", dir=folder)
        self.finish = self.run.finish

    def log(self, values: dict[str, float], step: int) -> None:
        """Hand on one step."""
        self.run.log(values, step=step)


TRACKERS: dict[str, Any] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}


class Seen:
    """What has been handed on already: the name of the run and its last step of each kind, kept in a file.

    Args:
        path: that file.
        name: the artifact's name.
        settings: digest of the run's settings: one that goes on has the same.
    """

    def __init__(self, path: Path, name: str, settings: str):
        self.path, self.name, self.settings = path, name, settings
        self.run, self.last = "", {}  # type: str, dict[str, int]
        try:
            kept = json.loads(path.read_text())
            if kept["settings"] == settings:
                self.run, self.last = str(kept["run"]), {str(kind): int(step) for kind, step in kept["last"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a first run, or a damaged file: then nothing is known

    def begin(self, step: int) -> str:
        """Give the name of the run whose first line has come: the one before, where this one continues it."""
        if not self.run or step <= 1:
            self.run, self.last = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}", {}
        return self.run

    def new(self, kind: str, step: int) -> bool:
        """Say whether a step has not been handed on yet."""
        return step > self.last.get(kind, -1)

    def keep(self, kind: str, step: int) -> None:
        """Note a step as handed on."""
        self.last[kind] = step
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps({"settings": self.settings, "run": self.run, "last": self.last}))
        partial.replace(self.path)


def main(name: str, folder: Path, run: str, settings: str) -> int:
    """Hand on every line until there are no more; a failure ends the process, and its text says why."""
    folder.mkdir(parents=True, exist_ok=True)
    seen = Seen(folder / f".{run}.json", run, settings)
    tracker: Any = None
    for text in sys.stdin.buffer:
        line = json.loads(text)
        kind, step = str(line["kind"]), int(line["step"])
        if tracker is None:
            tracker = TRACKERS[name](folder, seen.begin(step))
        if seen.new(kind, step):
            tracker.log(line["values"], step)
            seen.keep(kind, step)
    signal.alarm(LAST_WORDS)
    if tracker is not None:
        tracker.finish()
    return 0


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - the polynomial, bit by bit
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes; of b"123456789" it is 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    """The masked checksum of a TFRecord: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
