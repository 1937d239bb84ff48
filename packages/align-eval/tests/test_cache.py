import os
import signal
import subprocess
import sys

import pytest

from align_contracts.errors import LockedError, PreflightError
from align_eval.judges.cache import ReplyCache, default_path
from align_eval.judges.reply import Reply


def test_replies_and_charges_survive_closing(tmp_path):
    path = tmp_path / "deep" / "r.sqlite3"
    with ReplyCache(path) as cache:
        charge = cache.book("job", "k", 0.5)
        assert cache.spent("job") == 0.5
        cache.put("k", Reply("text", None, 3, 4), charge, 0.1)
        cache.book("job", "other", 0.2)
    with ReplyCache(path) as cache:
        assert cache.get("k") == Reply("text", None, 3, 4)
        assert cache.get("other") is None
        assert cache.answered(["k", "other"]) == {"k": Reply("text", None, 3, 4)}
        assert cache.spent("job") == pytest.approx(0.3)
        assert cache.spent("else") == 0.0


def test_a_call_turned_away_costs_nothing(tmp_path):
    with ReplyCache(tmp_path / "r.sqlite3") as cache:
        cache.settle(cache.book("job", "k", 0.5), 0.0)
        assert cache.spent("job") == 0.0


def test_kill_right_after_a_write_loses_nothing(tmp_path):
    path = tmp_path / "r.sqlite3"
    code = (
        "import os, signal, sys; from pathlib import Path; from align_eval.judges.cache import *\n"
        "cache = ReplyCache(Path(sys.argv[1])); cache.put('k', Reply('kept'), cache.book('j', 'k', 1.0), 0.25)\n"
        "cache.book('j', 'next', 2.0); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    with ReplyCache(path) as cache:
        assert cache.get("k") == Reply("kept")
        assert cache.spent("j") == 2.25


def test_no_booking_goes_beyond_the_cap(tmp_path):
    """Two bookings of 0.5 fit under a cap of 1; a third does not, until one of them is settled at less."""
    with ReplyCache(tmp_path / "r.sqlite3") as one, ReplyCache(tmp_path / "r.sqlite3") as other:
        first = one.book("job", "a", 0.5, cap=1.0)
        assert other.book("job", "b", 0.5, cap=1.0) is not None
        assert one.book("job", "c", 0.001, cap=1.0) is None
        assert one.book("another", "c", 0.5, cap=1.0) is not None  # each judging has a cap of its own
        other.settle(first, 0.25)
        assert one.book("job", "c", 0.25, cap=1.0) is not None
        assert one.spent("job") == 1.0


BOOK = """
import sys
from pathlib import Path
from align_eval.judges.cache import ReplyCache
sys.stdin.readline()
cache = ReplyCache(Path(sys.argv[1]))
print(sum(cache.book("job", str(i), 0.25, cap=10.0) is not None for i in range(30)))
"""


def test_two_processes_together_keep_to_the_cap(tmp_path):
    """Each wants 30 bookings of 0.25; 40 of the 60 fit under the cap of 10."""
    path = tmp_path / "r.sqlite3"
    ReplyCache(path)
    both = [
        subprocess.Popen([sys.executable, "-c", BOOK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert sum(int(one.communicate(timeout=60)[0]) for one in both) == 40
    assert ReplyCache(path).spent("job") == 10.0


def test_a_job_is_asked_by_one_process_at_a_time(tmp_path):
    with ReplyCache(tmp_path / "r.sqlite3") as one, ReplyCache(tmp_path / "r.sqlite3") as other, one.alone("job"):
        with pytest.raises(LockedError, match="the same questions"), other.alone("job"):
            pass
        with other.alone("another"):
            pass


def test_a_write_cut_in_half_is_rolled_back(tmp_path):
    """The last commit's pages in the log are torn, as by a crash: it is gone, what was committed before stands."""
    path = tmp_path / "r.sqlite3"
    with ReplyCache(path) as cache:
        cache.put("old", Reply("kept"))
        whole = (tmp_path / "r.sqlite3-wal").read_bytes()
        cache.put("new", Reply("torn"))
        longer = (tmp_path / "r.sqlite3-wal").read_bytes()
        copy = tmp_path / "copy.sqlite3"
        copy.write_bytes(path.read_bytes())
        (tmp_path / "copy.sqlite3-wal").write_bytes(longer[: (len(whole) + len(longer)) // 2])
    assert len(longer) > len(whole)
    with ReplyCache(copy) as cache:
        assert cache.get("old") == Reply("kept")
        assert cache.get("new") is None
        cache.put("new", Reply("again"))
        assert cache.get("new") == Reply("again")


def test_a_full_disk_is_a_plain_error_and_loses_nothing(tmp_path):
    with ReplyCache(tmp_path / "r.sqlite3") as cache:
        cache.put("old", Reply("kept"))
        ((pages,),) = cache._db.execute("PRAGMA page_count").fetchall()
        cache._db.execute(f"PRAGMA max_page_count={pages}")  # SQLite's own "database or disk is full"
        with pytest.raises(PreflightError, match="full"):
            cache.put("new", Reply("x" * 10**6))
        assert cache.get("old") == Reply("kept")
        assert cache.get("new") is None
        cache._db.execute("PRAGMA max_page_count=1000000")
        cache.put("new", Reply("now"))


def test_a_path_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="--cache"):
        ReplyCache(tmp_path / "file" / "r.sqlite3")
    (tmp_path / "no.sqlite3").write_bytes(b"this is no database, just text that is long enough" * 20)
    with pytest.raises(PreflightError, match="--cache"):
        ReplyCache(tmp_path / "no.sqlite3")


def test_default_path_follows_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "align" / "judge-replies.sqlite3"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path().parts[-3:-1] == (".cache", "align")
