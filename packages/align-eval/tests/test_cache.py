import os
import signal
import subprocess
import sys

import pytest

from align_contracts.errors import PreflightError
from align_eval.judges.cache import Reply, ReplyCache, default_path


def test_replies_and_charges_survive_closing(tmp_path):
    path = tmp_path / "deep" / "r.sqlite3"
    with ReplyCache(path) as cache:
        charge = cache.charge("job", "k", 0.5)
        assert cache.spent("job") == 0.5
        cache.put("k", Reply("text", None, 3, 4), charge, 0.1)
        cache.charge("job", "other", 0.2)
    with ReplyCache(path) as cache:
        assert cache.get("k") == Reply("text", None, 3, 4)
        assert cache.get("other") is None
        assert cache.answered(["k", "other"]) == {"k": Reply("text", None, 3, 4)}
        assert cache.spent("job") == pytest.approx(0.3)
        assert cache.spent("else") == 0.0


def test_a_call_turned_away_costs_nothing(tmp_path):
    with ReplyCache(tmp_path / "r.sqlite3") as cache:
        cache.settle(cache.charge("job", "k", 0.5), 0.0)
        assert cache.spent("job") == 0.0


def test_kill_right_after_a_write_loses_nothing(tmp_path):
    path = tmp_path / "r.sqlite3"
    code = (
        "import os, signal, sys; from pathlib import Path; from align_eval.judges.cache import *\n"
        "cache = ReplyCache(Path(sys.argv[1])); cache.put('k', Reply('kept'), cache.charge('j', 'k', 1.0), 0.25)\n"
        "cache.charge('j', 'next', 2.0); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    with ReplyCache(path) as cache:
        assert cache.get("k") == Reply("kept")
        assert cache.spent("j") == 2.25


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
