"""The emulator's state in SQLite: synchronous, one connection, used by the store's one thread alone.

Durability: write-ahead log with synchronous=NORMAL, so what was committed survives a kill -9.
Files of attachments are the caller's business, before (new ones) and after (removed ones) a commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import schema
from .model import Attachment, Channel, Message, Role, User


class NewerFormat(RuntimeError):
    """The directory was written by another version of the emulator."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is stored now."""

    messages: int
    attachments: int
    stored_bytes: int


NO_END = (1 << 63) - 1  # greater than any id


@dataclass(frozen=True, slots=True)
class Page:
    """Which messages of a channel: at most `limit`, ids strictly between `after` and `before`.

    `oldest`: the page nearest to `after` instead of the one nearest to `before`.
    """

    limit: int
    before: int = NO_END
    after: int = -1
    oldest: bool = False


class Database:
    """All SQL of the emulator."""

    def __init__(self, path: Path) -> None:
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._sql.row_factory = sqlite3.Row
        self._sql.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        self._open_schema(path)

    def _open_schema(self, path: Path) -> None:
        version = int(self._sql.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            self._sql.executescript(f"BEGIN;{schema.SCHEMA}PRAGMA user_version={schema.VERSION};COMMIT;")
        elif version != schema.VERSION:
            raise NewerFormat(f"{path}: format {version}, this emulator reads format {schema.VERSION}")

    def close(self) -> None:
        self._sql.close()

    # --- single facts

    def meta(self, key: str) -> str | None:
        row = self._sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def last_id(self) -> int:
        """The greatest id ever kept, so that new ones are greater after a restart."""
        parts = " UNION ALL ".join(
            f"SELECT MAX(id) AS id FROM {table}"
            for table in ("users", "roles", "channels", "messages", "attachments")
        )
        newest = self._sql.execute(
            f"SELECT MAX(id) FROM ({parts} UNION ALL SELECT MAX(last_message_id) FROM channels)"
        ).fetchone()[0]
        return int(newest or 0)

    def totals(self) -> Totals:
        messages = self._sql.execute("SELECT COUNT(*) FROM messages").fetchone()[0]
        row = self._sql.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM attachments").fetchone()
        return Totals(messages, row[0], row[1])

    # --- guild

    def users(self) -> list[User]:
        return [schema.user_of(row) for row in self._sql.execute("SELECT * FROM users ORDER BY id")]

    def put_user(self, user: User) -> None:
        self._put("users", schema.user_row(user))

    def roles(self) -> list[Role]:
        return [schema.role_of(row) for row in self._sql.execute("SELECT * FROM roles ORDER BY id")]

    def put_role(self, role: Role) -> None:
        self._put("roles", schema.role_row(role))

    def channels(self) -> list[Channel]:
        return [schema.channel_of(row) for row in self._sql.execute("SELECT * FROM channels ORDER BY id")]

    def put_channel(self, channel: Channel) -> None:
        self._put("channels", schema.channel_row(channel))

    def delete_channel(self, channel_id: int) -> list[int]:
        """Deletes it with its messages; the ids of the attachments that are now without a message."""
        rows = self._sql.execute("SELECT id FROM attachments WHERE channel_id = ?", (channel_id,)).fetchall()
        with self._transaction():
            self._sql.execute("DELETE FROM attachments WHERE channel_id = ?", (channel_id,))
            self._sql.execute("DELETE FROM messages WHERE channel_id = ?", (channel_id,))
            self._sql.execute("DELETE FROM channels WHERE id = ?", (channel_id,))
        return [row[0] for row in rows]

    def _put(self, table: str, row: tuple[object, ...]) -> None:
        marks = ",".join("?" * len(row))
        self._sql.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

    def _transaction(self) -> _Transaction:
        return _Transaction(self._sql)

    # --- messages

    def message_by_nonce(self, author_id: int, nonce: str, since: int) -> Message | None:
        """The author's newest message with this nonce whose id is at least `since`."""
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE author_id = ? AND nonce = ? AND id >= ? ORDER BY id DESC LIMIT 1",
            (author_id, nonce, since),
        ).fetchall()
        return next(iter(self._with_attachments(rows)), None)

    def put_message(self, message: Message) -> None:
        """Keeps a new or changed message; its attachments are then exactly those it has."""
        with self._transaction():
            self._put("messages", schema.message_row(message))
            self._sql.execute("DELETE FROM attachments WHERE message_id = ?", (message.id,))
            for attachment in message.attachments:
                self._put("attachments", schema.attachment_row(attachment, message))
            self._sql.execute(
                "UPDATE channels SET last_message_id = MAX(COALESCE(last_message_id, 0), ?) WHERE id = ?",
                (message.id, message.channel_id),
            )

    def delete_messages(self, messages: Sequence[Message]) -> None:
        keys = [(message.id,) for message in messages]
        with self._transaction():
            self._sql.executemany("DELETE FROM attachments WHERE message_id = ?", keys)
            self._sql.executemany("DELETE FROM messages WHERE id = ?", keys)

    def message(self, channel_id: int, message_id: int) -> Message | None:
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE id = ? AND channel_id = ?", (message_id, channel_id)
        ).fetchall()
        return next(iter(self._with_attachments(rows)), None)

    def page(self, channel_id: int, page: Page) -> list[Message]:
        """A page of a channel, always newest first."""
        order = "ASC" if page.oldest else "DESC"
        rows = self._sql.execute(
            f"SELECT * FROM messages WHERE channel_id = ? AND id > ? AND id < ? ORDER BY id {order} LIMIT ?",
            (channel_id, page.after, page.before, page.limit),
        ).fetchall()
        messages = self._with_attachments(rows)
        return messages[::-1] if page.oldest else messages

    def pins(self, channel_id: int, before_ms: int, limit: int) -> list[Message]:
        """Pinned messages, the latest pinned first."""
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE channel_id = ? AND pinned_ms < ? ORDER BY pinned_ms DESC, id DESC"
            " LIMIT ?",
            (channel_id, before_ms, limit),
        ).fetchall()
        return self._with_attachments(rows)

    def count_pins(self, channel_id: int) -> int:
        query = "SELECT COUNT(*) FROM messages WHERE channel_id = ? AND pinned_ms IS NOT NULL"
        return int(self._sql.execute(query, (channel_id,)).fetchone()[0])

    def attachment(self, channel_id: int, attachment_id: int) -> Attachment | None:
        row = self._sql.execute(
            "SELECT * FROM attachments WHERE id = ? AND channel_id = ?", (attachment_id, channel_id)
        ).fetchone()
        return None if row is None else schema.attachment_of(row)

    def attachment_ids(self) -> set[int]:
        return {row[0] for row in self._sql.execute("SELECT id FROM attachments")}

    def _with_attachments(self, rows: Sequence[sqlite3.Row]) -> list[Message]:
        marks = ",".join("?" * len(rows))
        files: dict[int, list[Attachment]] = {row["id"]: [] for row in rows}
        query = f"SELECT * FROM attachments WHERE message_id IN ({marks}) ORDER BY id"
        for row in self._sql.execute(query, list(files)):
            files[row["message_id"]].append(schema.attachment_of(row))
        return [schema.message_of(row, tuple(files[row["id"]])) for row in rows]


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when an error leaves the block."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def __enter__(self) -> None:
        self._sql.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sql.execute("COMMIT" if kind is None else "ROLLBACK")
