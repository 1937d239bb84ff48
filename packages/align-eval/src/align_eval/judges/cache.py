"""Replies that were paid for, kept in SQLite: a rerun asks nothing twice, and a killed run loses no reply."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from align_contracts.durable import locked
from align_contracts.errors import LockedError, PreflightError
from align_eval.judges.reply import Reply

PATIENCE_S = 60.0
"""How long a write waits for that of another process."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT, problem TEXT, tokens_read INTEGER, tokens_written INTEGER, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, usd REAL NOT NULL, settled INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS charges_job ON charges (job);
"""


def default_path() -> Path:
    """Return the file in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`)."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "align" / "judge-replies.sqlite3"


class ReplyCache:
    """The durable store of replies and of what they cost; use as a context manager.

    Every write is committed and synced before the call that made it returns; what a killed run was writing is rolled
    back when the file is opened next. A charge is booked before its call is made, at the most that the call can cost,
    and replaced by the true cost together with the reply, so money spent is never forgotten.

    Args:
        path: The SQLite file; its directory is made. Several processes may share it.

    Raises:
        PreflightError: The file cannot be used; every method may raise it, for the disk may fill.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._usable():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA fullfsync=ON")  # macOS: through the drive's own cache
            self._db.executescript(_SCHEMA)

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextlib.contextmanager
    def alone(self, job: str) -> Iterator[None]:
        """Be the only process that asks the questions of a job; other jobs may share the file.

        Raises:
            LockedError: Another process asks them just now.
        """
        try:
            with locked(self.path.with_name(f"{self.path.name}-{job[:16]}")):
                yield
        except LockedError:
            raise LockedError(
                f"another process asks the same questions, with the cache {self.path}",
                do="Wait for it to end: its replies will do for both",
            ) from None

    def get(self, key: str) -> Reply | None:
        """Return the reply to a request, or None if it was never answered."""
        query = "SELECT text, problem, tokens_read, tokens_written FROM replies WHERE key = ?"
        with self._usable():
            row = self._db.execute(query, (key,)).fetchone()
        return None if row is None else Reply(*row)

    def put(self, key: str, reply: Reply, charge: int | None = None, usd: float = 0.0) -> None:
        """Keep a reply and, in the same transaction, settle its charge at its true cost."""
        row = (key, reply.text, reply.problem, reply.tokens_read, reply.tokens_written, time.time())
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)
            if charge is not None:
                self._db.execute("UPDATE charges SET usd = ?, settled = 1 WHERE id = ?", (usd, charge))

    def book(self, job: str, key: str, usd: float, cap: float | None = None) -> int | None:
        """Book the most that a call can cost, before it is made; a killed run leaves it booked.

        Returns:
            The charge's number, for `put` or `settle`; None where all that is booked for the job would exceed the cap.
        """
        with self._transaction():
            if cap is not None and self._spent(job) + usd > cap:
                return None
            row = (job, key, usd, 0)
            cursor = self._db.execute("INSERT INTO charges (job, key, usd, settled) VALUES (?, ?, ?, ?)", row)
        return int(cursor.lastrowid or 0)

    def settle(self, charge: int, usd: float) -> None:
        """Replace a booked amount by the true one (0 for a call that the server turned away)."""
        with self._usable():
            self._db.execute("UPDATE charges SET usd = ?, settled = 1 WHERE id = ?", (usd, charge))

    def spent(self, job: str) -> float:
        """USD booked for a job so far, over all its runs."""
        with self._usable():
            return self._spent(job)

    def answered(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the known replies among some requests."""
        return {key: reply for key in keys if (reply := self.get(key)) is not None}

    def _spent(self, job: str) -> float:
        return float(self._db.execute("SELECT TOTAL(usd) FROM charges WHERE job = ?", (job,)).fetchone()[0])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._usable():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, LockedError | PreflightError):
                raise
            raise PreflightError(
                f"the reply cache {self.path} cannot be used",
                got=error,
                do="Make room, or choose another with --cache; the replies so far stay in it",
            ) from None
