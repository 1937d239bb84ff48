"""Replies that were paid for, kept in SQLite: a rerun asks nothing twice, and a killed run loses no reply."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from align_contracts.errors import PreflightError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT, problem TEXT, tokens_read INTEGER, tokens_written INTEGER, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS charges (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, key TEXT NOT NULL, usd REAL NOT NULL, settled INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS charges_job ON charges (job);
"""


CUT = "cut off at the longest reply"


@dataclass(frozen=True)
class Reply:
    """A reply as it came.

    Attributes:
        text: The model's text; None for a refusal or a filtered reply.
        problem: Why there is no text, or no whole one.
        tokens_read: Tokens billed for reading; None if the endpoint did not say.
        tokens_written: Tokens billed for writing.
    """

    text: str | None
    problem: str | None = None
    tokens_read: int | None = None
    tokens_written: int | None = None

    @property
    def whole(self) -> str | None:
        """The text, if it is whole: what a cut one would have said is not known."""
        return None if self.problem else self.text


def default_path() -> Path:
    """Return the file in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`)."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "align" / "judge-replies.sqlite3"


class ReplyCache:
    """The durable store of replies and of what they cost; use as a context manager.

    Every write is committed and synced before the call that made it returns.

    Args:
        path: The SQLite file; its directory is made. Several processes may share it.

    Raises:
        PreflightError: The file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=60.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise PreflightError(
                f"the reply cache {path} cannot be used", got=error, do="Choose another with --cache"
            ) from None

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def get(self, key: str) -> Reply | None:
        """Return the reply to a request, or None if it was never answered."""
        query = "SELECT text, problem, tokens_read, tokens_written FROM replies WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        return None if row is None else Reply(*row)

    def put(self, key: str, reply: Reply, charge: int | None = None, usd: float = 0.0) -> None:
        """Keep a reply and, in the same transaction, settle its charge at its true cost."""
        row = (key, reply.text, reply.problem, reply.tokens_read, reply.tokens_written, time.time())
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", row)
            if charge is not None:
                self._db.execute("UPDATE charges SET usd = ?, settled = 1 WHERE id = ?", (usd, charge))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def charge(self, job: str, key: str, usd: float) -> int:
        """Book the most that a call can cost before it is made; a killed run leaves it booked.

        Returns:
            The charge's number, for `put` or `settle`.
        """
        row = (job, key, usd, 0)
        cursor = self._db.execute("INSERT INTO charges (job, key, usd, settled) VALUES (?, ?, ?, ?)", row)
        return int(cursor.lastrowid or 0)

    def settle(self, charge: int, usd: float) -> None:
        """Replace a booked amount by the true one (0 for a call that the server turned away)."""
        self._db.execute("UPDATE charges SET usd = ?, settled = 1 WHERE id = ?", (usd, charge))

    def spent(self, job: str) -> float:
        """USD booked for a job so far, over all its runs."""
        return float(self._db.execute("SELECT TOTAL(usd) FROM charges WHERE job = ?", (job,)).fetchone()[0])

    def answered(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the known replies among some requests."""
        return {key: reply for key in keys if (reply := self.get(key)) is not None}
