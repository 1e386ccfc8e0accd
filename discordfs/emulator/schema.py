"""The database's schema, and how its rows become the values of `model`.

`PRAGMA user_version` holds the schema's version; another version is refused. Threading: pure.
"""

from __future__ import annotations

import json
import sqlite3

from .model import Attachment, Channel, Message, Overwrite, Role, User

VERSION = 1
SCHEMA = """
CREATE TABLE meta (              -- single facts: guild, owner, key of the URL signatures, clock offset
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE users (
    id              INTEGER PRIMARY KEY,   -- snowflake, as all ids here
    name            TEXT NOT NULL,
    token           TEXT NOT NULL UNIQUE,  -- a bot's without the word Bot
    bot             INTEGER NOT NULL,
    message_content INTEGER NOT NULL,      -- 1: may have the privileged intent MESSAGE_CONTENT
    members         INTEGER NOT NULL,      -- 1: may have those for members and presences
    role_ids        TEXT NOT NULL          -- JSON array of integers
);
CREATE TABLE roles (
    id          INTEGER PRIMARY KEY,       -- @everyone: the guild's id
    name        TEXT NOT NULL,
    permissions TEXT NOT NULL,             -- decimal: SQLite's integers are too narrow for all bits
    managed     INTEGER NOT NULL           -- 1: belongs to a bot
);
CREATE TABLE channels (
    id                  INTEGER PRIMARY KEY,
    kind                INTEGER NOT NULL,  -- Discord's channel type
    name                TEXT NOT NULL,
    position            INTEGER NOT NULL,
    parent_id           INTEGER,           -- the category, if any
    topic               TEXT,
    nsfw                INTEGER NOT NULL,
    rate_limit_per_user INTEGER NOT NULL,  -- seconds; told, not enforced
    last_message_id     INTEGER,           -- may name a message deleted since
    last_pin_ms         INTEGER,
    overwrites          TEXT NOT NULL      -- JSON array of [id, kind, allow, deny]
);
CREATE TABLE messages (
    id         INTEGER PRIMARY KEY,        -- also says when it was posted
    channel_id INTEGER NOT NULL,
    author_id  INTEGER NOT NULL,
    content    TEXT NOT NULL,
    kind       INTEGER NOT NULL,           -- Discord's message type
    flags      INTEGER NOT NULL,
    tts        INTEGER NOT NULL,
    nonce      TEXT,                       -- only of posts that asked for enforce_nonce
    edited_ms  INTEGER,
    pinned_ms  INTEGER,
    extra      TEXT NOT NULL               -- JSON object: embeds, reference, reactions
);
CREATE INDEX messages_by_channel ON messages (channel_id, id);
CREATE INDEX messages_by_nonce ON messages (author_id, nonce, id) WHERE nonce IS NOT NULL;
CREATE INDEX messages_pinned ON messages (channel_id, pinned_ms) WHERE pinned_ms IS NOT NULL;
CREATE TABLE attachments (
    id           INTEGER PRIMARY KEY,      -- names its file too
    message_id   INTEGER NOT NULL,
    channel_id   INTEGER NOT NULL,
    filename     TEXT NOT NULL,            -- cleaned, as the URL has it
    size         INTEGER NOT NULL,         -- bytes
    content_type TEXT,
    description  TEXT,
    title        TEXT,                     -- the name before cleaning, without its extension
    width        INTEGER,                  -- pixels, where the format says
    height       INTEGER
);
CREATE INDEX attachments_by_message ON attachments (message_id, id);
"""


def user_row(user: User) -> tuple[object, ...]:
    return (
        user.id,
        user.name,
        user.token,
        user.bot,
        user.message_content,
        user.members,
        json.dumps(user.role_ids),
    )


def user_of(row: sqlite3.Row) -> User:
    return User(
        row["id"],
        row["name"],
        row["token"],
        bool(row["bot"]),
        bool(row["message_content"]),
        bool(row["members"]),
        tuple(json.loads(row["role_ids"])),
    )


def role_row(role: Role) -> tuple[object, ...]:
    return role.id, role.name, str(role.permissions), role.managed


def role_of(row: sqlite3.Row) -> Role:
    return Role(row["id"], row["name"], int(row["permissions"]), bool(row["managed"]))


def channel_row(channel: Channel) -> tuple[object, ...]:
    overwrites = [[each.id, each.kind, each.allow, each.deny] for each in channel.overwrites]
    return (
        channel.id,
        channel.kind,
        channel.name,
        channel.position,
        channel.parent_id,
        channel.topic,
        channel.nsfw,
        channel.rate_limit_per_user,
        channel.last_message_id,
        channel.last_pin_ms,
        json.dumps(overwrites),
    )


def channel_of(row: sqlite3.Row) -> Channel:
    return Channel(
        id=row["id"],
        kind=row["kind"],
        name=row["name"],
        position=row["position"],
        parent_id=row["parent_id"],
        topic=row["topic"],
        nsfw=bool(row["nsfw"]),
        rate_limit_per_user=row["rate_limit_per_user"],
        last_message_id=row["last_message_id"],
        last_pin_ms=row["last_pin_ms"],
        overwrites=tuple(Overwrite(*each) for each in json.loads(row["overwrites"])),
    )


def message_row(message: Message) -> tuple[object, ...]:
    return (
        message.id,
        message.channel_id,
        message.author_id,
        message.content,
        message.kind,
        message.flags,
        message.tts,
        message.nonce,
        message.edited_ms,
        message.pinned_ms,
        json.dumps(message.extra),
    )


def message_of(row: sqlite3.Row, attachments: tuple[Attachment, ...]) -> Message:
    return Message(
        id=row["id"],
        channel_id=row["channel_id"],
        author_id=row["author_id"],
        content=row["content"],
        kind=row["kind"],
        flags=row["flags"],
        tts=bool(row["tts"]),
        nonce=row["nonce"],
        edited_ms=row["edited_ms"],
        pinned_ms=row["pinned_ms"],
        extra=json.loads(row["extra"]),
        attachments=attachments,
    )


def attachment_row(attachment: Attachment, message: Message) -> tuple[object, ...]:
    return (
        attachment.id,
        message.id,
        message.channel_id,
        attachment.filename,
        attachment.size,
        attachment.content_type,
        attachment.description,
        attachment.title,
        attachment.width,
        attachment.height,
    )


def attachment_of(row: sqlite3.Row) -> Attachment:
    return Attachment(
        row["id"],
        row["filename"],
        row["size"],
        row["content_type"],
        row["description"],
        row["title"],
        row["width"],
        row["height"],
    )
