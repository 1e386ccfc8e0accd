"""Everything that the emulator keeps, item by item: the judge of who claims to have read it all.

It is read from the tables themselves, past all that the API's answers are made with; so a fault there
cannot hide in both. Memory: all of it at once. Threading: event loop; the tables in the store's thread.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .context import Context
from .database import Database

Json = dict[str, Any]


async def everything(context: Context, hashes: bool = False) -> Json:
    """Users, roles, channels (threads and direct messages too), messages with their attachments, reactions
    and votes, emojis, stickers, webhooks, invites, bans. Ids are strings, times epoch milliseconds.
    """
    return await context.store.run(lambda database: _read(context, database, hashes))


async def ids(context: Context, channel_id: int) -> list[str]:
    """The ids of all messages of a channel, oldest first."""
    query = "SELECT id FROM messages WHERE channel_id = ? ORDER BY id"

    def work(database: Database) -> list[str]:
        return [str(row[0]) for row in database.sql.execute(query, (channel_id,))]

    return await context.store.run(work)


def _read(context: Context, database: Database, hashes: bool) -> Json:
    body: Json = {"guild_id": str(context.world.guild.id)}
    for kind in ("emoji", "sticker", "webhook", "invite", "ban"):
        body[f"{kind}s"] = [json.loads(row["body"]) for row in _rows(database, "things", f"kind = '{kind}'")]
    body["users"] = [_with_facts(row) for row in _rows(database, "users")]
    body["roles"] = [_with_facts(row) for row in _rows(database, "roles")]
    body["channels"] = [_with_facts(row) for row in _rows(database, "channels")]
    messages = {row["id"]: _message(row) for row in _rows(database, "messages")}
    for row in _rows(database, "attachments"):
        kept = {key: row[key] for key in ("id", "filename", "size", "content_type", "forwarded")}
        if hashes:
            kept["sha256"] = _hash(context, row["id"])
        messages[row["message_id"]]["attachments"].append(_texts(kept))
    for row in _rows(database, "reactions"):
        kinds = messages[row["message_id"]]["reactions"].setdefault(row["key"], {"normal": [], "burst": []})
        kinds["burst" if row["burst"] else "normal"].append(str(row["user_id"]))
    for row in _rows(database, "votes"):
        answers = messages[row["message_id"]]["votes"]
        answers.setdefault(str(row["answer_id"]), []).append(str(row["user_id"]))
    body["messages"] = list(messages.values())
    return body


def _rows(database: Database, table: str, where: str = "1") -> list[Json]:
    keys = {"reactions": "message_id, key, burst, user_id", "votes": "message_id, answer_id, user_id"}
    order = keys.get(table, "id")
    return [
        dict(row) for row in database.sql.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY {order}")
    ]


def _with_facts(row: Json) -> Json:
    """A row with what it keeps as JSON in place of the text, and without secrets."""
    facts = json.loads(row.pop("facts"))
    row.pop("token", None)
    return _texts(row) | {"facts": facts}


def _message(row: Json) -> Json:
    extra = json.loads(row.pop("extra"))
    return _texts(row) | {"extra": extra, "attachments": [], "reactions": {}, "votes": {}}


def _texts(row: Json) -> Json:
    """Ids as strings, as JSON has them on Discord."""
    ids = ("id", "channel_id", "author_id", "parent_id", "last_message_id")
    return row | {key: str(row[key]) for key in ids if row.get(key) is not None}


def _hash(context: Context, attachment_id: int) -> str | None:
    path = context.files.path(attachment_id)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
