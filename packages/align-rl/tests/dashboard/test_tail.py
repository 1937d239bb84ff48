import json
import os

import pytest

from align_rl.dashboard.tail import Tail


@pytest.fixture
def log(tmp_path):
    return tmp_path / "train.jsonl"


def write(path, *numbers, mode="a"):
    with path.open(mode) as file:
        file.writelines(json.dumps({"iteration": n}) + "\n" for n in numbers)


def seen(tail):
    return [row["iteration"] for row in tail.rows]


def test_only_what_was_appended_is_read(log):
    tail = Tail(log)
    write(log, *range(1000))
    assert tail.poll()
    before = tail.read_bytes
    assert before == log.stat().st_size
    write(log, 1000)
    assert tail.poll()
    assert seen(tail) == list(range(1001))
    assert tail.read_bytes - before == len('{"iteration": 1000}\n')
    assert not tail.poll()


def test_a_log_that_is_not_there_yet_may_come(log):
    tail = Tail(log)
    tail.poll()
    assert tail.rows == []
    write(log, 1)
    assert tail.poll()
    assert seen(tail) == [1]


def test_a_line_without_its_end_waits_for_it(log):
    tail = Tail(log)
    log.write_text('{"iteration": 1}\n{"iterat')
    tail.poll()
    assert seen(tail) == [1]
    with log.open("a") as file:
        file.write('ion": 2}\n')
    assert tail.poll()
    assert seen(tail) == [1, 2]


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{", b"[1]", b"[" * 100_000, b"3", b""])
def test_a_line_that_is_no_record_is_left_out(log, line):
    log.write_bytes(b'{"iteration": 1}\n' + line + b'\n{"iteration": 2}\n')
    tail = Tail(log)
    tail.poll()
    assert seen(tail) == [1, 2]


def test_a_log_that_was_cut_is_read_again(log):
    """A resumed run cuts its log back to the checkpoint."""
    tail = Tail(log)
    write(log, 1, 2, 3, 4)
    tail.poll()
    os.truncate(log, 2 * len('{"iteration": 1}\n'))
    assert tail.poll()
    assert seen(tail) == [1, 2]


def test_a_log_that_was_cut_and_has_grown_beyond_between_two_looks_is_read_again(log):
    tail = Tail(log)
    write(log, 1, 2, 3, 4)
    tail.poll()
    os.truncate(log, len('{"iteration": 1}\n'))
    write(log, 2, 3, 5, 6, 7)
    assert tail.poll()
    assert seen(tail) == [1, 2, 3, 5, 6, 7]


def test_another_file_of_the_same_name_is_read_from_its_start(log):
    tail = Tail(log)
    write(log, 1, 2)
    tail.poll()
    new = log.with_name("new")
    write(new, 1, 2, 3)
    new.replace(log)
    assert tail.poll()
    assert seen(tail) == [1, 2, 3]


def test_a_log_that_is_gone_has_no_rows(log):
    tail = Tail(log)
    write(log, 1)
    tail.poll()
    log.unlink()
    assert tail.poll()
    assert tail.rows == []
    assert not tail.poll()
