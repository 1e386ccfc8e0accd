"""The limiter's state: who holds which slot of which rate limit, in one SQLite file for all processes.

A slot ("lease") is taken before a request is sent. It is *flying* until the answer is here; afterwards it
stays taken until the window that the request was counted in has ended for certain (now + Reset-After, as
the answer said it). So the leases on a bucket are never fewer than what the server has counted, or will
count, in any one of its windows: whichever request of a window was sent last, all others of that window
held their leases at that moment, and the bucket's size is never exceeded.

Limits: times are seconds of the wall clock, as processes share them; after a power cut the file may be
torn and is then replaced by memory. The file is named by a hash of the API's address and the token, which
reveals neither. Threading: one thread; transactions of about 0.1 ms, waiting at most 50 ms for another's.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
    id           INTEGER PRIMARY KEY,
    route        TEXT NOT NULL,     -- method, template and major id; '' for requests of strangers
    bucket       TEXT NOT NULL,     -- hash and major id, '' while unknown
    owner        INTEGER NOT NULL,  -- process id
    flying       INTEGER NOT NULL,  -- 1 until the answer came
    until        REAL NOT NULL,     -- when the bucket's window is surely over
    global_until REAL NOT NULL      -- the same for the limit over all routes
);
CREATE TABLE IF NOT EXISTS route (
    name    TEXT PRIMARY KEY,
    bucket  TEXT NOT NULL,
    size    INTEGER NOT NULL,       -- requests in a window; 0: answers come without rate limit headers
    span    REAL NOT NULL,          -- the longest Reset-After seen, about a window
    seen    REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pause (name TEXT PRIMARY KEY, until REAL NOT NULL);  -- after a 429
CREATE TABLE IF NOT EXISTS invalid (at REAL NOT NULL);                          -- answers 401, 403, 429
"""
_BUSY_MS = 50
_FORGET_ROUTE = 3600.0  # seconds after which a bucket's size is asked anew
_FLIGHT_MAX = 1800.0  # seconds: no request lasts longer
EVERYWHERE = "*"
"""The name under which a pause holds for all routes."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What an answer's headers said. `key` is hash and major id, times are seconds."""

    key: str
    size: int
    remaining: int
    reset_after: float


@dataclass(frozen=True, slots=True)
class Wait:
    """No slot now: `seconds` until one may be free by itself. `bucket` is what is full: "" while its size is
    unknown, EVERYWHERE for the global limit."""

    seconds: float
    bucket: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Numbers that no header tells (Discord's documents, "Rate Limits"); seconds.

    `margin` is for headers that are rounded and timers that are early, `drift` the part by which two clocks
    may differ in speed (NTP sets them at most half of it off). Nothing else needs one: how long an answer
    takes can only make a lease end later than its window."""

    global_size: int = 50
    global_span: float = 1.0
    unknown_span: float = 1.0
    margin: float = 0.02
    drift: float = 0.001
    invalid_span: float = 600.0
    poll: float = 0.05

    def surely_over(self, now: float, span: float) -> float:
        """When a window has ended that, as was heard just now, ends in `span`."""
        return now + span * (1 + self.drift) + self.margin


class Ledger:
    """The leases. `path` None keeps them in memory, for this process alone."""

    def __init__(self, path: Path | None, rules: Rules) -> None:
        self._rules = rules
        self._owner = os.getpid()
        self._db = _open(path)

    def close(self) -> None:
        self._db.close()

    def reserve(self, route: str, now: float) -> int | Wait:
        """A lease's id, or how long to wait. sqlite3.OperationalError when another process is at it."""
        with self._transaction():
            self._tidy(now)
            wait = self._paused(route, now) or self._global_full(now) or self._bucket_full(route, now)
            return wait or self._lease(route, now)

    def settle(
        self, lease: int, route: str, bucket: Bucket | None, *, sent: bool, counted: bool, now: float
    ) -> None:
        """The request is over. `bucket` as its answer said; without one, `counted` tells whether the server
        may have counted it in a bucket; once `sent` the global limit may have counted it."""
        with self._transaction():
            if bucket is not None:
                self._learn(route, bucket, now)
            until = now
            if bucket is not None:
                until = self._rules.surely_over(now, bucket.reset_after)
            elif counted:
                until = self._rules.surely_over(now, self._known(route, now)[2])
            global_until = self._rules.surely_over(now, self._rules.global_span) if sent else now
            self._db.execute(
                "UPDATE lease SET flying = 0, until = ?, global_until = ?, bucket = coalesce(?, bucket)"
                " WHERE id = ?",
                (until, global_until, bucket.key if bucket else None, lease),
            )
            if bucket is not None:
                self._add_strangers(bucket, until, now)

    def unlimited(self, route: str, now: float) -> None:
        """An answer came without rate limit headers: nothing is known to bind this route."""
        with self._transaction():
            self._remember(route, "", 0, 0.0, now)

    def pause(self, route: str, until: float) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT INTO pause VALUES (?, ?)"
                " ON CONFLICT (name) DO UPDATE SET until = max(until, excluded.until)",
                (route, until),
            )

    def add_invalid(self, now: float) -> None:
        with self._transaction():
            self._db.execute("INSERT INTO invalid VALUES (?)", (now,))

    def invalid(self, now: float) -> tuple[int, float]:
        """How many invalid answers there were in the last ten minutes, and when the oldest was."""
        since = now - self._rules.invalid_span
        row = self._db.execute("SELECT count(*), min(at) FROM invalid WHERE at > ?", (since,)).fetchone()
        return row[0], row[1] or now

    # --- inside -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _tidy(self, now: float) -> None:
        self._db.execute("DELETE FROM lease WHERE until <= ? AND (flying OR global_until <= ?)", (now, now))
        self._db.execute("DELETE FROM pause WHERE until <= ?", (now,))
        self._db.execute("DELETE FROM invalid WHERE at <= ?", (now - self._rules.invalid_span,))

    def _paused(self, route: str, now: float) -> Wait | None:
        (until,) = self._db.execute(
            "SELECT max(until) FROM pause WHERE name IN (?, ?)", (route, EVERYWHERE)
        ).fetchone()
        return None if until is None else Wait(until - now, "paused")

    def _global_full(self, now: float) -> Wait | None:
        where = "(flying OR global_until > ?)"
        (held,) = self._db.execute(f"SELECT count(*) FROM lease WHERE {where}", (now,)).fetchone()
        if held < self._rules.global_size:
            return None
        return self._wait("global_until", where, (now,), now, EVERYWHERE)

    def _bucket_full(self, route: str, now: float) -> Wait | None:
        bucket, size, span, fresh = self._known(route, now)
        if fresh and not size:
            return None
        # Until an answer has told the size, one request goes ahead and the others wait for it.
        where = "(route = ? OR (bucket = ? AND bucket != '')) AND (flying OR until > ?)"
        (held,) = self._db.execute(
            f"SELECT count(*) FROM lease WHERE {where}", (route, bucket, now)
        ).fetchone()
        if held < (size if fresh else 1):
            return None
        self._bury(span, now)
        return self._wait("until", where, (route, bucket, now), now, bucket)

    def _wait(self, column: str, where: str, values: tuple[object, ...], now: float, bucket: str) -> Wait:
        """Until the first lease runs out; those in flight may end any time, in another process unnoticed."""
        earliest, theirs = self._db.execute(
            f"SELECT min(iif(flying, NULL, {column})), sum(flying AND owner != {self._owner})"
            f" FROM lease WHERE {where}",
            values,
        ).fetchone()
        seconds = self._rules.unknown_span if earliest is None else max(earliest - now, 0.001)
        return Wait(min(seconds, self._rules.poll) if theirs else seconds, bucket)

    def _lease(self, route: str, now: float) -> int:
        bucket = self._known(route, now)[0]
        cursor = self._db.execute(
            "INSERT INTO lease (route, bucket, owner, flying, until, global_until) VALUES (?, ?, ?, 1, ?, 0)",
            (route, bucket, self._owner, now + _FLIGHT_MAX),
        )
        return cursor.lastrowid or 0

    def _known(self, route: str, now: float) -> tuple[str, int, float, bool]:
        """(bucket, size, span, whether that was learned lately)."""
        row = self._db.execute(
            "SELECT bucket, size, span, seen FROM route WHERE name = ?", (route,)
        ).fetchone()
        if row is None or not row[3] > now - _FORGET_ROUTE:
            return "", 0, self._rules.unknown_span, False
        return row[0], row[1], row[2], True

    def _learn(self, route: str, bucket: Bucket, now: float) -> None:
        known, size, span, fresh = self._known(route, now)
        same = fresh and (known, size) == (bucket.key, bucket.size)
        self._remember(route, bucket.key, bucket.size, max(bucket.reset_after, span if same else 0.0), now)

    def _remember(self, route: str, bucket: str, size: int, span: float, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO route VALUES (?, ?, ?, ?, ?)", (route, bucket, size, span, now)
        )

    def _add_strangers(self, bucket: Bucket, until: float, now: float) -> None:
        """The server has counted more than we know of: somebody else spends from the same bucket."""
        (held,) = self._db.execute(
            "SELECT count(*) FROM lease WHERE bucket = ? AND (flying OR until > ?)", (bucket.key, now)
        ).fetchone()
        for _ in range(bucket.size - bucket.remaining - held):
            self._db.execute(
                "INSERT INTO lease (route, bucket, owner, flying, until, global_until)"
                " VALUES ('', ?, 0, 0, ?, 0)",
                (bucket.key, until),
            )

    def _bury(self, span: float, now: float) -> None:
        """Requests in flight of processes that are gone will never be settled by them."""
        owners = self._db.execute(
            "SELECT DISTINCT owner FROM lease WHERE flying AND owner != ?", (self._owner,)
        ).fetchall()
        for (owner,) in owners:
            if not _alive(owner):
                self._db.execute(
                    "UPDATE lease SET flying = 0, until = ?, global_until = ? WHERE flying AND owner = ?",
                    (
                        self._rules.surely_over(now, span),
                        self._rules.surely_over(now, self._rules.global_span),
                        owner,
                    ),
                )


def ledger_path(directory: Path, api: str, token: str) -> Path:
    """The file shared by those who use this token with this API."""
    digest = hashlib.sha256(f"discordfs limits\0{api}\0{token}".encode()).hexdigest()
    return directory / f"limits-1-{digest[:32]}.sqlite"


def _open(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=_BUSY_MS / 1000)
    try:
        # Losing the last transactions in a power cut is harmless; waiting for a disk at each request is not.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
