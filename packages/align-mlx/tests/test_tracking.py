"""Trackers that fail in every way, and a run that goes on; TensorBoard's files by their own definition."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align_contracts.errors import ConfigError
from align_mlx import track_writer, tracking
from align_mlx.settings import PassSettings


def settings(tmp_path: Path, tracker: str = "tensorboard", **kw) -> PassSettings:
    return PassSettings(track=tracker, track_dir=tmp_path / "watch", **kw)


def run(config: PassSettings, steps: range, out: Path = Path("ppo-42")) -> None:
    with tracking.tracking(config, out) as track:
        for step in steps:
            track({"iteration": step, "loss": step / 2, "eval": {"kl": step / 4}, "note": "text", "odd": float("nan")})


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read event files: the framing of TFRecord, then the few protobuf fields that there are."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = fields(data[at + 12 : at + 12 + length])
            at += 12 + length + 4
            for summary in event.get(5, []):
                for value in fields(summary).get(1, []):
                    inner = fields(value)
                    (number,) = struct.unpack("<f", inner[2][0])
                    found.setdefault(inner[1][0].decode(), []).append((event[2][0], number))
    return found


def fields(data: bytes) -> dict[int, list]:
    """Decode one protobuf message: varints, 4- and 8-byte values as bytes, and bytes."""
    found: dict[int, list] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            found.setdefault(key >> 3, []).append(varint())
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        found.setdefault(key >> 3, []).append(data[at : at + size])
        at += size
    return found


def test_numbers_arrive_under_their_names(tmp_path):
    run(settings(tmp_path), range(1, 301))
    found = points(tmp_path)
    assert set(found) == {"train/loss", "eval/kl"}
    assert found["train/loss"] == [(step, step / 2) for step in range(1, 301)]
    assert found["eval/kl"][-1] == (300, 75.0)


def test_a_resumed_run_doubles_no_point_and_a_new_one_is_another(tmp_path):
    run(settings(tmp_path), range(1, 8))
    run(settings(tmp_path), range(5, 11))  # killed after 7, resumed from 4
    assert points(tmp_path)["train/loss"] == [(step, step / 2) for step in range(1, 11)]
    assert len(list((tmp_path / "watch" / "tensorboard").iterdir())) == 1
    run(settings(tmp_path), range(1, 3))  # the same command once more, from its beginning
    assert len(list((tmp_path / "watch" / "tensorboard").iterdir())) == 2
    other = settings(tmp_path, token_budget=64)
    run(other, range(2, 4))  # a run of other settings that was not tracked before
    assert len(list((tmp_path / "watch" / "tensorboard").iterdir())) == 3


def test_kinds_of_one_step_are_kept_apart(tmp_path):
    with tracking.tracking(settings(tmp_path), Path("sft")) as track:
        track({"step": 0, "perplexity": 4.0}, "validation")
        track({"step": 1, "loss": 2.0})
        track({"step": 1, "perplexity": 3.0}, "validation")
    assert points(tmp_path) == {"validation/perplexity": [(0, 4.0), (1, 3.0)], "train/loss": [(1, 2.0)]}


def test_without_a_tracker_nothing_is_written(tmp_path):
    run(settings(tmp_path, "none"), range(1, 4))
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_installed_is_a_mistake_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(ConfigError, match="needs the package wandb") as error,
        tracking.tracking(settings(tmp_path, "wandb"), Path("x")),
    ):
        pytest.fail("the run began")
    assert error.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


PROGRAMS = {
    "fails at once": "import sys; sys.exit(3)",
    "cannot be read": "this is no Python",
    "fails later": "import sys; sys.stdin.readline(); raise OSError('no network')",
    "kills itself": "import os, signal, sys; sys.stdin.readline(); os.kill(os.getpid(), signal.SIGKILL)",
    "hangs and never reads": "import time; time.sleep(600)",
    "hangs at the end": "import sys, time\nfor line in sys.stdin: pass\ntime.sleep(600)",
    "ignores signals": "import signal, time\nfor n in (2, 13, 15): signal.signal(n, 1)\ntime.sleep(600)",
}


@pytest.mark.parametrize("fault", PROGRAMS)
def test_no_fault_of_a_tracker_stops_the_run(tmp_path, monkeypatch, capsys, fault):
    program = tmp_path / "tracker.py"
    program.write_text(PROGRAMS[fault])
    monkeypatch.setattr(tracking, "WRITER", program)
    monkeypatch.setattr(tracking, "PATIENCE", 1.5)
    done = []
    with tracking.tracking(settings(tmp_path), Path("ppo-42")) as track:
        for step in range(1, 5001):  # more than a pipe and the queue hold
            track({"iteration": step, "loss": 1.0, "reward": 2.0})
            done.append(step)
    assert len(done) == 5000
    assert track.process.poll() is not None  # nothing is left behind
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "note: the tracker tensorboard" in said
    if fault not in ("hangs at the end",):
        assert track.dropped > 0
        assert f"{track.dropped} of 5000 records" in said


def test_a_folder_that_cannot_be_made_is_a_note(tmp_path, capsys):
    (tmp_path / "watch").write_text("a file")
    run(settings(tmp_path), range(1, 3))
    assert "cannot be started" in capsys.readouterr().err


def test_the_run_s_own_error_goes_through_without_waiting(tmp_path, monkeypatch):
    program = tmp_path / "tracker.py"
    program.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(tracking, "WRITER", program)
    monkeypatch.setattr(tracking, "INTERRUPTED", 0.2)
    kept = []

    def failing() -> None:
        with tracking.tracking(settings(tmp_path), Path("x")) as track:
            kept.append(track)
            track({"step": 1, "loss": 1.0})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert kept[0].process.poll() is not None


KILLED = """
import sys, time
from pathlib import Path
from align_mlx.settings import PassSettings
from align_mlx.tracking import tracking
with tracking(PassSettings(track="tensorboard", track_dir=Path(sys.argv[1])), Path("ppo")) as track:
    track({"iteration": 1, "loss": 1.0})
    print("tracked", flush=True)
    time.sleep(600)
"""


def test_what_was_tracked_is_there_when_the_run_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "tracked\n"
        os.kill(child.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while not points(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert points(tmp_path)["train/loss"] == [(1, 1.0)]


def test_a_damaged_memory_of_the_last_steps_is_forgotten(tmp_path):
    for text in ("", "{", "[1]", '{"settings": "s", "run": "r"}', '{"settings": "s", "run": "r", "last": [1]}'):
        (tmp_path / "seen.json").write_text(text)
        seen = track_writer.Seen(tmp_path / "seen.json", "ppo", "s")
        assert seen.begin(7).startswith("ppo-")
        assert seen.new("train", 7)


def test_checksums():
    assert track_writer.crc32c(b"123456789") == 0xE3069283  # RFC 3720, and every catalogue of checksums
    assert track_writer.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    assert track_writer.crc32c(b"\xff" * 32) == 0x62A8AB43


def test_lines_are_what_they_say(tmp_path, monkeypatch):
    program = tmp_path / "tracker.py"
    program.write_text(f"import sys, pathlib; pathlib.Path({str(tmp_path / 'lines')!r}).write_text(sys.stdin.read())")
    monkeypatch.setattr(tracking, "WRITER", program)
    run(settings(tmp_path), range(1, 3))
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert lines[0] == {"kind": "train", "step": 1, "values": {"train/loss": 0.5, "eval/kl": 0.25}}
    assert [line["step"] for line in lines] == [1, 2]
