"""The database's schema, and how its rows become the values of `model`.

`PRAGMA user_version` holds the schema's version; what an earlier one wrote is brought up by UPGRADES, a
later one is refused. Threading: pure.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from .model import (
    Attachment,
    Channel,
    Message,
    Overwrite,
    Reaction,
    Role,
    Tag,
    Thread,
    User,
)

VERSION = 2
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
    role_ids        TEXT NOT NULL,         -- JSON array of integers
    facts           TEXT NOT NULL DEFAULT '{}'  -- JSON object: display, avatar, member … where not as usual
);
CREATE TABLE roles (
    id          INTEGER PRIMARY KEY,       -- @everyone: the guild's id
    name        TEXT NOT NULL,
    permissions TEXT NOT NULL,             -- decimal: SQLite's integers are too narrow for all bits
    managed     INTEGER NOT NULL,          -- 1: belongs to a bot
    facts       TEXT NOT NULL DEFAULT '{}' -- JSON object: color, hoist … where not as usual
);
CREATE TABLE channels (                    -- threads and direct messages too
    id                  INTEGER PRIMARY KEY,
    kind                INTEGER NOT NULL,  -- Discord's channel type
    name                TEXT NOT NULL,
    position            INTEGER NOT NULL,
    parent_id           INTEGER,           -- the category, if any; of a thread, its channel
    topic               TEXT,
    nsfw                INTEGER NOT NULL,
    rate_limit_per_user INTEGER NOT NULL,  -- seconds; told, not enforced
    last_message_id     INTEGER,           -- may name a message deleted since
    last_pin_ms         INTEGER,
    overwrites          TEXT NOT NULL,     -- JSON array of [id, kind, allow, deny]
    messages            INTEGER NOT NULL DEFAULT 0,  -- there now, the start of a thread not counted
    sent                INTEGER NOT NULL DEFAULT 0,  -- ever there
    facts               TEXT NOT NULL DEFAULT '{}'   -- JSON object: thread, tags, recipients
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
    extra      TEXT NOT NULL               -- JSON object: embeds, message_reference, poll …
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
    height       INTEGER,
    forwarded    INTEGER NOT NULL DEFAULT 0  -- 1: belongs to the message's snapshot
);
CREATE INDEX attachments_by_message ON attachments (message_id, id);
"""
_MORE = """
CREATE TABLE reactions (
    message_id INTEGER NOT NULL,
    key        TEXT NOT NULL,              -- id of a custom emoji, else the emoji itself
    burst      INTEGER NOT NULL,           -- 1: a super reaction
    user_id    INTEGER NOT NULL,
    added      INTEGER NOT NULL,           -- a snowflake: emojis stand in the order of their first
    name       TEXT NOT NULL,
    animated   INTEGER NOT NULL,
    PRIMARY KEY (message_id, key, burst, user_id)
) WITHOUT ROWID;
CREATE TABLE votes (                       -- in polls
    message_id INTEGER NOT NULL,
    answer_id  INTEGER NOT NULL,
    user_id    INTEGER NOT NULL,
    PRIMARY KEY (message_id, answer_id, user_id)
) WITHOUT ROWID;
CREATE TABLE things (                      -- the small things of a guild, as `model` has them
    kind TEXT NOT NULL,                    -- emoji, sticker, webhook, invite, ban
    id   TEXT NOT NULL,
    body TEXT NOT NULL,                    -- JSON object: its fields
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
"""
SCHEMA += _MORE
UPGRADES = {
    1: """
ALTER TABLE users ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE roles ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE channels ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN sent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE channels ADD COLUMN facts TEXT NOT NULL DEFAULT '{}';
ALTER TABLE attachments ADD COLUMN forwarded INTEGER NOT NULL DEFAULT 0;
"""
    + _MORE,
}
T = TypeVar("T")
CHANNEL_COLUMNS = (  # what whoever changes a channel changes
    "kind", "name", "position", "parent_id", "topic", "nsfw", "rate_limit_per_user", "last_pin_ms",
    "overwrites", "facts",
)  # fmt: skip
_USER_FACTS = ("display", "nick", "avatar", "guild_avatar", "boosting_ms", "member")
_ROLE_FACTS = ("color", "hoist", "mentionable", "icon", "symbol")


def _facts(value: User | Role, names: tuple[str, ...]) -> str:
    """The fields of these names that are not as usual, as JSON."""
    usual = {each.name: each.default for each in fields(value)}
    given = {name: getattr(value, name) for name in names}
    return json.dumps({name: fact for name, fact in given.items() if fact != usual[name]})


def thing_row(kind: str, key: str, thing: Any) -> tuple[object, ...]:
    return kind, key, json.dumps(asdict(thing))


def thing_of(kind: type[T], body: str) -> T:
    given = json.loads(body)
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in given.items()})


def user_row(user: User) -> tuple[object, ...]:
    return (
        user.id,
        user.name,
        user.token,
        user.bot,
        user.message_content,
        user.members,
        json.dumps(user.role_ids),
        _facts(user, _USER_FACTS),
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
        **json.loads(row["facts"]),
    )


def role_row(role: Role) -> tuple[object, ...]:
    return role.id, role.name, str(role.permissions), role.managed, _facts(role, _ROLE_FACTS)


def role_of(row: sqlite3.Row) -> Role:
    facts = json.loads(row["facts"])
    return Role(row["id"], row["name"], int(row["permissions"]), bool(row["managed"]), **facts)


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
        channel.messages,
        channel.sent,
        json.dumps(_channel_facts(channel)),
    )


def _channel_facts(channel: Channel) -> dict[str, object]:
    facts: dict[str, object] = {}
    if channel.tags:
        facts["tags"] = [asdict(each) for each in channel.tags]
    if channel.recipients:
        facts["recipients"] = channel.recipients
    if channel.thread is not None:
        facts["thread"] = asdict(channel.thread)
    return facts


def _thread_of(facts: dict[str, Any] | None) -> Thread | None:
    if facts is None:
        return None
    members = tuple((user, joined) for user, joined in facts.pop("members"))
    return Thread(**facts | {"members": members, "tag_ids": tuple(facts["tag_ids"])})


def channel_of(row: sqlite3.Row) -> Channel:
    facts = json.loads(row["facts"])
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
        messages=row["messages"],
        sent=row["sent"],
        tags=tuple(Tag(**each) for each in facts.get("tags", ())),
        recipients=tuple(facts.get("recipients", ())),
        thread=_thread_of(facts.get("thread")),
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


@dataclass(frozen=True, slots=True)
class Parts:
    """What belongs to messages and lies in other tables, by the message's id."""

    attachments: Mapping[int, list[Attachment]]
    reactions: Mapping[int, tuple[Reaction, ...]]
    votes: Mapping[int, Mapping[int, tuple[int, ...]]]


def message_of(row: sqlite3.Row, parts: Parts) -> Message:
    extra = row["extra"]
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
        extra={} if extra == "{}" else json.loads(extra),
        attachments=tuple(parts.attachments.get(row["id"], ())),
        reactions=parts.reactions.get(row["id"], ()),
        votes=parts.votes.get(row["id"], {}),
    )


def reactions_of(rows: Iterable[sqlite3.Row]) -> dict[int, tuple[Reaction, ...]]:
    """Rows in the order of message, key, burst, user as the reactions of each message, oldest emoji first."""
    found: dict[int, dict[str, list[sqlite3.Row]]] = {}
    for row in rows:
        found.setdefault(row["message_id"], {}).setdefault(row["key"], []).append(row)
    return {
        message: tuple(
            _reaction(each)
            for each in sorted(by_key.values(), key=lambda same: min(row["added"] for row in same))
        )
        for message, by_key in found.items()
    }


def _reaction(rows: list[sqlite3.Row]) -> Reaction:
    normal, burst = (tuple(row["user_id"] for row in rows if row["burst"] == kind) for kind in (0, 1))
    return Reaction(rows[0]["key"], rows[0]["name"], bool(rows[0]["animated"]), normal, burst)


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
        attachment.forwarded,
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
        bool(row["forwarded"]),
    )
