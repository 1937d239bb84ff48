from collections import namedtuple

import pytest

from align_contracts import space
from align_contracts.errors import PreflightError
from align_contracts.space import amount, free_bytes, jsonl_bytes, require_space

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free(monkeypatch):
    """Set the free bytes of every disk; returns the paths that were asked."""
    asked = []

    def set_free(size: int):
        monkeypatch.setattr(space.shutil, "disk_usage", lambda path: asked.append(path) or Usage(0, 0, size))
        return asked

    return set_free


def test_five_per_cent_more_than_the_estimate_must_be_free(free, tmp_path):
    free(1050)
    require_space(tmp_path / "x", {"a": 600, "b": 400})  # 1.05 · 1000
    free(1049)
    with pytest.raises(PreflightError):
        require_space(tmp_path / "x", {"a": 600, "b": 400})


def test_the_message_says_what_for_and_how_much_is_there(free, tmp_path):
    free(2**29)
    parts = {"the adapter": 2**30, "saved states": 3 * 2**30, "nothing": 0}
    with pytest.raises(PreflightError) as caught:
        require_space(tmp_path / "ppo-42", parts)
    # 1.05 · 4 GiB
    assert str(caught.value) == (
        f"{tmp_path}/ppo-42 needs more disk than there is: expected 4.2 GiB (the adapter 1 GiB, saved states 3 GiB), "
        "got 512 MiB free. Free some space, or write to another disk with --out"
    )
    assert caught.value.exit_code == 6


def test_what_an_interrupted_run_has_written_already_needs_no_second_place(free, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "x").write_bytes(b"x" * 500)
    free(550)
    require_space(tmp_path / "x", {"a": 1000}, there=tmp_path / "run")  # 1050 = 550 + 500
    with pytest.raises(PreflightError):
        require_space(tmp_path / "x", {"a": 1000}, there=tmp_path / "none")


def test_the_disk_is_that_of_the_nearest_directory_that_is_there(free, tmp_path, monkeypatch):
    asked = free(7)
    assert free_bytes(tmp_path / "a" / "b" / "c") == 7
    monkeypatch.chdir(tmp_path)
    assert free_bytes(space.Path("a/b")) == 7
    assert asked == [tmp_path, tmp_path]


def test_bytes_of_rows_as_they_are_written(tmp_path):
    assert jsonl_bytes([{"a": "ü"}, {"b": 12}]) == len('{"a": "ü"}\n'.encode()) + len('{"b": 12}\n')


def test_amounts():
    sizes = (0, 1023, 1024, 5 * 2**19, 1000 * 2**20, 2**30, 123 * 2**30, 5000 * 2**40)
    assert [amount(size) for size in sizes] == [
        *("0 B", "1023 B", "1 KiB", "2.5 MiB", "1000 MiB", "1 GiB", "123 GiB", "5000 TiB"),
    ]
