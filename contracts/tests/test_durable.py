import errno
import multiprocessing
import os
import re
import resource
import sys
from pathlib import Path

import pytest

from align_contracts import LockedError, PreflightError, durable
from align_contracts.durable import (
    clean_stale,
    disk_errors,
    exchange,
    lock_holder,
    locked,
    make_directory,
    put_in_place,
    sync,
    sync_tree,
)

DEAD = "0123456789abcdef"


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_sync_uses_the_full_sync_where_there_is_one(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(durable.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(durable.fcntl, "fcntl", lambda fd, command: calls.append(command))
    monkeypatch.setattr(durable.os, "fsync", lambda fd: calls.append("fsync"))
    sync(tmp_path)
    assert calls == [51]

    def unknown(fd, command):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(durable.fcntl, "fcntl", unknown)
    sync(tmp_path)
    assert calls == [51, "fsync"]


def test_sync_tree_reaches_everything_children_first(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_text("x")
    seen = []
    monkeypatch.setattr(durable, "sync", seen.append)
    sync_tree(tmp_path)
    assert seen == [tmp_path / "a" / "f", tmp_path / "a", tmp_path]


def test_the_lock_excludes_and_leaves_nothing(tmp_path):
    target = tmp_path / "x"
    with locked(target):
        with pytest.raises(LockedError, match="another process"), locked(target):
            pass
        with locked(tmp_path / "y"):
            pass
    with locked(target):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_refused_writer_is_told_who_holds_the_lock(tmp_path):
    target = tmp_path / "x"
    assert lock_holder(target) is None
    with locked(target):
        pid, text = lock_holder(target)
        assert pid == os.getpid()
        assert re.fullmatch(r"pid \d+ on \S+ since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
        with pytest.raises(LockedError, match=re.escape(f"({text})")), locked(target):
            pass
    (tmp_path / ".x.lock").write_text("not ours\n")
    assert lock_holder(target) is None


def test_a_lock_file_of_a_dead_process_does_not_block(tmp_path):
    (tmp_path / ".x.lock").write_text("")
    with locked(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def _race(target, wins, results):
    won = 0
    while won < wins:
        try:
            with locked(target):
                inside = target.parent / "inside"
                inside.mkdir()  # fails if two are ever inside at once
                inside.rmdir()
                won += 1
        except LockedError:
            continue
    results.put(won)


def test_processes_racing_for_the_lock_are_never_inside_together(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path / "x", 50, results)) for _ in range(4)]
    for racer in racers:
        racer.start()
    wins = [results.get(timeout=60) for _ in racers]
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * 4
    assert wins == [50] * 4
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_is_no_lock_file(tmp_path):
    (tmp_path / ".x.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PreflightError, match="lock cannot be made"), locked(tmp_path / "x"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_clean_stale_takes_only_its_own(tmp_path):
    folder(tmp_path / f".x.tmp-{DEAD}", "stale")
    folder(tmp_path / f".x.old-{DEAD}", "replaced")
    folder(tmp_path / "x", "new")
    others = [".x.tmp-short", f".xy.tmp-{DEAD}", f"x.tmp-{DEAD}", f".x.tmp-{DEAD}.tmp-{DEAD}"]
    for name in others:
        folder(tmp_path / name, "other")
    clean_stale(tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == {"x", *others}


def test_clean_stale_puts_back_what_a_dead_replacement_took_away(tmp_path):
    folder(tmp_path / f".x.old-{DEAD}", "old")
    folder(tmp_path / f".x.tmp-{DEAD}", "unfinished")
    clean_stale(tmp_path / "x")
    assert tree(tmp_path) == {"x/file": "old"}


@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="no atomic exchange")
def test_exchange(tmp_path):
    folder(tmp_path / "a", "1")
    folder(tmp_path / "b", "2")
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange")
    assert tree(tmp_path) == {"a/file": "2", "b/file": "1"}
    assert not exchange(tmp_path / "a", tmp_path / "absent")
    assert tree(tmp_path) == {"a/file": "2", "b/file": "1"}


@pytest.mark.parametrize(("answer", "done"), [(0, True), (-1, False)])
def test_exchange_asks_the_system_in_its_own_words(monkeypatch, answer, done):
    calls = []

    class MacOS:
        @staticmethod
        def renamex_np(*arguments):
            calls.append(arguments)
            return answer

    monkeypatch.setattr(durable.sys, "platform", "darwin")
    monkeypatch.setattr(durable.ctypes, "CDLL", lambda name, use_errno: MacOS)
    assert exchange(Path("a"), Path("b")) is done
    assert calls == [(b"a", b"b", 2)]  # RENAME_SWAP of macOS's sys/stdio.h
    monkeypatch.setattr(durable.ctypes, "CDLL", lambda name, use_errno: object())  # an older system without it
    assert exchange(Path("a"), Path("b")) is False


def test_a_lock_file_removed_between_open_and_lock_is_taken_again(tmp_path, monkeypatch):
    flock, calls = durable.fcntl.flock, []

    def removing(fd, operation):
        if not calls:
            (tmp_path / ".x.lock").unlink()  # what its last holder does on its way out
        calls.append(fd)
        return flock(fd, operation)

    monkeypatch.setattr(durable.fcntl, "flock", removing)
    with locked(tmp_path / "x"):
        assert len(calls) == 2
        assert (tmp_path / ".x.lock").exists()


@pytest.mark.parametrize("atomic", [True, False])
def test_put_in_place(tmp_path, monkeypatch, atomic):
    if not atomic:
        monkeypatch.setattr(durable, "exchange", lambda first, second: False)
    put_in_place(folder(tmp_path / "t1", "1"), tmp_path / "x")
    assert tree(tmp_path) == {"x/file": "1"}
    put_in_place(folder(tmp_path / "t2", "2"), tmp_path / "x")
    assert tree(tmp_path) == {"x/file": "2"}
    (tmp_path / "empty").mkdir()
    put_in_place(folder(tmp_path / "t3", "3"), tmp_path / "empty")
    assert tree(tmp_path) == {"x/file": "2", "empty/file": "3"}


def test_a_failing_second_rename_puts_the_old_one_back(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "exchange", lambda first, second: False)
    folder(tmp_path / "x", "old")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "absent", tmp_path / "x")
    assert tree(tmp_path) == {"x/file": "old"}


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("before", [{}, {"x/file": "old"}])
def test_what_was_there_is_back_when_the_last_sync_fails(tmp_path, monkeypatch, atomic, before):
    """Then nobody knows whether the new name is on the disk, and the caller is told that nothing was published."""
    if not atomic:
        monkeypatch.setattr(durable, "exchange", lambda first, second: False)
    if before:
        folder(tmp_path / "x", "old")

    def failing(path):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(durable, "sync", failing)
    with pytest.raises(OSError, match="input/output error"):
        put_in_place(folder(tmp_path / "t", "new"), tmp_path / "x")
    assert tree(tmp_path) == {**before, "t/file": "new"}


@pytest.mark.parametrize("step", [1, 2])
def test_dying_between_the_renames_loses_nothing(tmp_path, monkeypatch, step):
    """A process that dies after the first or second rename: the next writer finds the old or the new one."""
    monkeypatch.setattr(durable, "exchange", lambda first, second: False)
    folder(tmp_path / "x", "old")
    folder(tmp_path / f".x.tmp-{DEAD}", "new")
    pid = os.fork()
    if pid == 0:
        rename, count = os.rename, [0]

        def dying(source, target):
            rename(source, target)
            count[0] += 1
            if count[0] == step:
                os._exit(0)

        durable.os.rename = dying
        put_in_place(tmp_path / f".x.tmp-{DEAD}", tmp_path / "x")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with locked(tmp_path / "x"):
        clean_stale(tmp_path / "x")
    assert tree(tmp_path) == {"x/file": {1: "old", 2: "new"}[step]}


def test_a_full_or_broken_disk_is_a_preflight_error(tmp_path):
    full = r"the disk is full \(\d+ bytes free after cleaning up\)"
    with pytest.raises(PreflightError, match=full), disk_errors(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "no space")
    for number in (errno.EIO, errno.EROFS):
        with pytest.raises(PreflightError, match="x: the disk failed"), disk_errors(tmp_path / "x"):
            raise OSError(number, os.strerror(number))
    with pytest.raises(PermissionError), disk_errors(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no")


def test_a_limit_on_the_size_of_files_is_no_full_disk(tmp_path):
    """A real one: the file may have 1 000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(PreflightError) as error, disk_errors(tmp_path / "x"):
            (tmp_path / "x").write_bytes(bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(error.value) == (
        f"{tmp_path}/x: a file would be larger than the 1000 bytes that this process may write, or its file system "
        "allows. Raise that limit (ulimit -f), or write to another disk; what was there before is unchanged"
    )
    with pytest.raises(PreflightError, match="larger than its file system allows"), disk_errors(tmp_path / "x"):
        raise OSError(errno.EFBIG, "File too large")


def test_make_directory(tmp_path):
    make_directory(tmp_path / "a" / "b", parents=True)
    make_directory(tmp_path / "a" / "b", parents=True)
    with pytest.raises(PreflightError, match="cannot be made"):
        make_directory(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="cannot be made"):
        make_directory(tmp_path / "file" / "b", parents=True)
