import errno
import json
import struct
from pathlib import Path

import mlx.core as mx
import pytest
from safetensors import safe_open

from align_mlx.tensors import save_tensors


def test_another_reader_finds_arrays_and_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"x" * 10_000)  # what was there before is gone, to its last byte
    save_tensors(path, {"w": mx.array([[1.0, -2.5]]), "b": mx.array([3], dtype=mx.int32)}, {"scale": "2.0"})
    with safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"scale": "2.0"}
        assert file.get_tensor("w").tolist() == [[1.0, -2.5]]
        assert file.get_tensor("b").tolist() == [3]


def test_the_format_is_named_unless_other_metadata_are_given(tmp_path):
    save_tensors(tmp_path / "a", {"w": mx.zeros(1)})
    data = (tmp_path / "a").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert header["__metadata__"] == {"format": "mlx"}


def test_a_full_disk_is_the_system_s_error():
    """/dev/full refuses every write, as a full disk does."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        save_tensors(full, {"w": mx.zeros(100_000)})
    assert caught.value.errno == errno.ENOSPC
