"""The emulator's state in SQLite: synchronous, one connection, used by the store's one thread alone.

Durability: write-ahead log with synchronous=NORMAL, so what was committed survives a kill -9.
Files of attachments are the caller's business, before (new ones) and after (removed ones) a commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from . import schema
from .model import REPLY, THREAD_STARTER, Attachment, Channel, Message, Reaction, Role, User

T = TypeVar("T")


class NewerFormat(RuntimeError):
    """The directory was written by another version of the emulator."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is stored now."""

    messages: int
    attachments: int
    stored_bytes: int


NO_END = (1 << 63) - 1  # greater than any id
_FILES_OF_CHANNEL = "FROM attachments WHERE channel_id = ?"
_MESSAGES_OF_CHANNEL = "SELECT id FROM messages WHERE channel_id = ?"
_NEWEST = (
    "last_message_id = NULLIF(MAX(COALESCE(last_message_id, 0), COALESCE(excluded.last_message_id, 0)), 0)"
)
_SEVEN = "?,?,?,?,?,?,?"


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
        for each in range(version, schema.VERSION) if version else ():
            self._sql.executescript(f"BEGIN;{schema.UPGRADES[each]}PRAGMA user_version={each + 1};COMMIT;")
        if version > schema.VERSION:
            raise NewerFormat(f"{path}: format {version}, this emulator reads format {schema.VERSION}")

    def close(self) -> None:
        self._sql.close()

    @property
    def sql(self) -> sqlite3.Connection:
        """The connection itself, for making and telling everything at once (`filling`, `judging`)."""
        return self._sql

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
            f"SELECT MAX(id) FROM ({parts} UNION ALL SELECT MAX(last_message_id) FROM channels"
            " UNION ALL SELECT MAX(CAST(id AS INTEGER)) FROM things"
            " WHERE kind IN ('emoji', 'sticker', 'webhook'))"
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
        """Keeps a channel; of one that is there, what counts its messages stays as it is."""
        row = schema.channel_row(channel)
        marks = ",".join("?" * len(row))
        changed = ", ".join(f"{name} = excluded.{name}" for name in schema.CHANNEL_COLUMNS)
        self._sql.execute(
            f"INSERT INTO channels VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changed}, {_NEWEST}",
            row,
        )

    def delete_channels(self, channel_ids: Sequence[int]) -> list[int]:
        """Deletes them with their messages; the ids of the attachments that are now without a message."""
        files: list[int] = []
        with self.transaction():
            for key in [(channel_id,) for channel_id in channel_ids]:
                files += [row[0] for row in self._sql.execute(f"SELECT id {_FILES_OF_CHANNEL}", key)]
                for table in ("reactions", "votes"):
                    self._sql.execute(
                        f"DELETE FROM {table} WHERE message_id IN ({_MESSAGES_OF_CHANNEL})", key
                    )
                self._sql.execute(f"DELETE {_FILES_OF_CHANNEL}", key)
                self._sql.execute("DELETE FROM messages WHERE channel_id = ?", key)
                self._sql.execute("DELETE FROM channels WHERE id = ?", key)
        return files

    def things(self, kind: str, of: type[T]) -> list[T]:
        """All emojis, stickers, webhooks, invites or bans."""
        rows = self._sql.execute("SELECT body FROM things WHERE kind = ? ORDER BY id", (kind,))
        return [schema.thing_of(of, row["body"]) for row in rows]

    def put_thing(self, kind: str, key: str, thing: object) -> None:
        self._put("things", schema.thing_row(kind, key, thing))

    def drop_thing(self, kind: str, key: str) -> None:
        self._sql.execute("DELETE FROM things WHERE kind = ? AND id = ?", (kind, key))

    def _put(self, table: str, row: tuple[object, ...]) -> None:
        marks = ",".join("?" * len(row))
        self._sql.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

    def transaction(self) -> _Transaction:
        """A block whose statements all count, or none of them."""
        return _Transaction(self._sql)

    # --- messages

    def message_by_nonce(self, author_id: int, nonce: str, since: int) -> Message | None:
        """The author's newest message with this nonce whose id is at least `since`."""
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE author_id = ? AND nonce = ? AND id >= ? ORDER BY id DESC LIMIT 1",
            (author_id, nonce, since),
        ).fetchall()
        return next(iter(self._whole(rows)), None)

    def put_message(self, message: Message, new: bool = False) -> None:
        """Keeps a new or changed message; its attachments are then exactly those it has."""
        counted = int(new and counts(message))
        with self.transaction():
            self._put("messages", schema.message_row(message))
            self._sql.execute("DELETE FROM attachments WHERE message_id = ?", (message.id,))
            for attachment in message.attachments:
                self._put("attachments", schema.attachment_row(attachment, message))
            self._sql.execute(
                "UPDATE channels SET last_message_id = MAX(COALESCE(last_message_id, 0), ?),"
                " messages = messages + ?, sent = sent + ? WHERE id = ?",
                (message.id, counted, counted, message.channel_id),
            )

    def delete_messages(self, messages: Sequence[Message]) -> None:
        keys = [(message.id,) for message in messages]
        counted = [(message.channel_id,) for message in messages if counts(message)]
        with self.transaction():
            for table in ("attachments", "reactions", "votes"):
                self._sql.executemany(f"DELETE FROM {table} WHERE message_id = ?", keys)
            self._sql.executemany("DELETE FROM messages WHERE id = ?", keys)
            self._sql.executemany("UPDATE channels SET messages = MAX(0, messages - 1) WHERE id = ?", counted)

    def message(self, channel_id: int, message_id: int) -> Message | None:
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE id = ? AND channel_id = ?", (message_id, channel_id)
        ).fetchall()
        return next(iter(self._whole(rows)), None)

    def page(self, channel_id: int, page: Page) -> list[Message]:
        """A page of a channel, always newest first."""
        order = "ASC" if page.oldest else "DESC"
        rows = self._sql.execute(
            f"SELECT * FROM messages WHERE channel_id = ? AND id > ? AND id < ? ORDER BY id {order} LIMIT ?",
            (channel_id, page.after, page.before, page.limit),
        ).fetchall()
        messages = self._whole(rows)
        return messages[::-1] if page.oldest else messages

    def pins(self, channel_id: int, before_ms: int, limit: int) -> list[Message]:
        """Pinned messages, the latest pinned first."""
        rows = self._sql.execute(
            "SELECT * FROM messages WHERE channel_id = ? AND pinned_ms < ? ORDER BY pinned_ms DESC, id DESC"
            " LIMIT ?",
            (channel_id, before_ms, limit),
        ).fetchall()
        return self._whole(rows)

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

    def _whole(self, rows: Sequence[sqlite3.Row], replies: bool = True) -> list[Message]:
        """The messages of these rows with all that belongs to them."""
        ids = [row["id"] for row in rows]
        files: dict[int, list[Attachment]] = {}
        for row in self._of(ids, "attachments"):
            files.setdefault(row["message_id"], []).append(schema.attachment_of(row))
        votes: dict[int, dict[int, tuple[int, ...]]] = {}
        for row in self._of(ids, "votes"):
            answers = votes.setdefault(row["message_id"], {})
            answers[row["answer_id"]] = (*answers.get(row["answer_id"], ()), row["user_id"])
        parts = schema.Parts(files, schema.reactions_of(self._of(ids, "reactions")), votes)
        messages = [schema.message_of(row, parts) for row in rows]
        return self._with_references(messages) if replies else messages

    def _of(self, ids: Sequence[int], table: str) -> Iterable[sqlite3.Row]:
        """The rows of these messages in another table, by the order of its key."""
        order = {
            "attachments": "message_id, id",
            "reactions": "message_id, key, burst, user_id",
            "votes": "message_id, answer_id, user_id",
        }[table]
        marks = ",".join("?" * len(ids))
        return self._sql.execute(
            f"SELECT * FROM {table} WHERE message_id IN ({marks}) ORDER BY {order}", list(ids)
        )

    def _with_references(self, messages: list[Message]) -> list[Message]:
        wanted = {target for each in messages if (target := answered(each)) is not None}
        if not wanted:
            return messages
        marks = ",".join("?" * len(wanted))
        rows = self._sql.execute(f"SELECT * FROM messages WHERE id IN ({marks})", list(wanted)).fetchall()
        found = {each.id: each for each in self._whole(rows, replies=False)}
        return [replace(each, referenced=found.get(answered(each) or 0)) for each in messages]

    # --- reactions and votes

    def add_reaction(self, message_id: int, one: Reaction, added: int) -> bool:
        """Adds the one user that is in `one`; False if that reaction was there already."""
        (user,), burst = one.normal or one.burst, not one.normal
        row = (message_id, one.key, burst, user, added, one.name, one.animated)
        return self._sql.execute(f"INSERT OR IGNORE INTO reactions VALUES ({_SEVEN})", row).rowcount > 0

    def drop_reactions(self, message_id: int, key: str | None = None, user_id: int | None = None) -> int:
        """Takes reactions away: all, those of one emoji, those of one user with it. How many there were."""
        chosen = {"message_id": message_id, "key": key, "user_id": user_id}
        given = {name: value for name, value in chosen.items() if value is not None}
        where = " AND ".join(f"{name} = :{name}" for name in given)
        return self._sql.execute(f"DELETE FROM reactions WHERE {where}", given).rowcount

    def reactors(self, message_id: int, key: str, burst: bool, after: int, limit: int) -> list[int]:
        """The users behind a reaction, by id."""
        rows = self._sql.execute(
            "SELECT user_id FROM reactions WHERE message_id = ? AND key = ? AND burst = ? AND user_id > ?"
            " ORDER BY user_id LIMIT ?",
            (message_id, key, burst, after, limit),
        )
        return [row[0] for row in rows]

    def set_votes(self, message_id: int, user_id: int, answers: Iterable[int]) -> None:
        """What a user votes for in a poll from now on."""
        with self.transaction():
            self._sql.execute("DELETE FROM votes WHERE message_id = ? AND user_id = ?", (message_id, user_id))
            rows = [(message_id, answer, user_id) for answer in answers]
            self._sql.executemany("INSERT INTO votes VALUES (?,?,?)", rows)


def counts(message: Message) -> bool:
    """Whether a thread's counters count this message: the one it was started from is left out."""
    return message.id != message.channel_id and message.kind != THREAD_STARTER


def answered(message: Message) -> int | None:
    """The message that this one shows above itself: what it replies to, or what its thread began with."""
    if message.kind not in (REPLY, THREAD_STARTER):
        return None
    reference: Any = message.extra.get("message_reference")
    return None if reference is None else int(reference["message_id"])


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when an error leaves the block."""

    def __init__(self, sql: sqlite3.Connection) -> None:
        self._sql = sql

    def __enter__(self) -> None:
        self._sql.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._sql.execute("COMMIT" if kind is None else "ROLLBACK")
