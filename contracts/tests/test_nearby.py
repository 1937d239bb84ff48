import pytest

from align_contracts.nearby import nearby


def test_a_slip_is_suggested(tmp_path):
    (tmp_path / "ppo-42").mkdir()
    assert nearby(tmp_path / "ppo-43") == f"Did you mean {tmp_path}/ppo-42?"


def test_else_what_is_there_is_listed_but_what_is_hidden(tmp_path):
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
    assert nearby(tmp_path / "something") == f"In {tmp_path} there is a, b"
    for name in "cdefg":
        (tmp_path / name).mkdir()
    assert nearby(tmp_path / "something") == f"In {tmp_path} there is a, b, c, d, e, f, …"


def test_where_the_directory_is_missing_the_nearest_that_is_there_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    assert nearby(tmp_path / "run" / "x" / "y") == (
        f"There is no directory {tmp_path}/run/x. In {tmp_path} there is runs"
    )


@pytest.mark.parametrize("name", ["x", "x" * 300, "nul\0"])
def test_where_nothing_helps_nothing_is_said(tmp_path, name):
    assert nearby(tmp_path / name) is None


def test_a_hostile_name_is_made_printable(tmp_path):
    (tmp_path / "a\x1b[2J").mkdir()
    assert "\x1b" not in (nearby(tmp_path / "zzzzzz") or "\x1b")
