"""Messages as JSON, as one reader sees them. Threading: event loop only (it reads the guild and the
clock).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import payloads, polls, snowflake
from .clock import iso
from .context import Context
from .filenames import is_image
from .model import PRIVATE, REPLY, THREAD_STARTER, Attachment, Message, Reaction, User
from .urls import HERE, Place

Json = dict[str, Any]
_MENTION = re.compile(r"<@!?(\d{1,20})>")
_ROLE_MENTION = re.compile(r"<@&(\d{1,20})>")
_EVERYONE = re.compile(r"@(everyone|here)\b")
_KEPT = (  # by a forward, of what it forwards
    "type", "content", "mentions", "mention_roles", "embeds", "timestamp", "edited_timestamp", "flags",
    "components", "sticker_items",
)  # fmt: skip
_EMPTIED: Json = {"content": "", "embeds": [], "attachments": [], "components": []}


def as_json(context: Context, message: Message, reader: User, content_intent: bool = True) -> Json:
    """A message for `reader`; on the gateway `content_intent` tells whether the session asked for it."""
    body = _body(context, message, reader, content_intent)
    thread = context.world.threads.get(message.id)
    if thread is not None and thread.id != message.channel_id:
        body["thread"] = payloads.channel(thread, context.world.guild)
    if message.reactions:
        body["reactions"] = [reaction(each, reader) for each in message.reactions]
    if message.kind in (REPLY, THREAD_STARTER):
        other = message.referenced
        body["referenced_message"] = other and _body(context, other, reader, content_intent)
    return body


def _body(context: Context, message: Message, reader: User, content_intent: bool) -> Json:
    """The message without what stands around it: reactions, its thread, what it replies to."""
    mentions = _mentions(context, message)
    own = [each for each in message.attachments if not each.forwarded]
    body: Json = {
        "type": message.kind,
        "content": message.content,
        "mentions": [payloads.user(each) for each in mentions],
        "mention_roles": [],
        "mention_everyone": False,
        "attachments": [_attachment(context, message, each) for each in own],
        "embeds": [],
        "timestamp": iso(snowflake.time_of(message.id)),
        "edited_timestamp": None if message.edited_ms is None else iso(message.edited_ms),
        "flags": message.flags,
        "components": [],
        "id": str(message.id),
        "channel_id": str(message.channel_id),
        "author": _author(context, message),
        "pinned": message.pinned_ms is not None,
        "tts": message.tts,
    }
    if "@" in message.content:
        roles = dict.fromkeys(_ROLE_MENTION.findall(message.content))
        body["mention_roles"] = [each for each in roles if int(each) in context.world.roles]
        body["mention_everyone"] = _EVERYONE.search(message.content) is not None
    if message.extra:
        _add_extra(context, body, message, reader)
    if not _may_read(context, reader, message, mentions, content_intent):
        _empty(body)
    return body


def _add_extra(context: Context, body: Json, message: Message, reader: User) -> None:
    """Puts in what is kept as JSON: the poll with its votes, the snapshot with its files."""
    body |= _at_home(context, message.extra)
    if "poll" in body:
        body["poll"] = polls.shown(body["poll"], message.votes, reader.id)
    if "message_snapshots" in body:
        copied = [_attachment(context, message, each) for each in message.attachments if each.forwarded]
        inner = body["message_snapshots"][0]["message"]
        body["message_snapshots"] = [{"message": inner | {"attachments": copied}}]


def _at_home(context: Context, extra: Mapping[str, object]) -> Mapping[str, Any]:
    """With URLs of the emulator's own, whose port changes, as they are now."""
    text = json.dumps(extra)
    return extra if HERE not in text else dict(json.loads(text.replace(HERE, context.base_url)))


def _author(context: Context, message: Message) -> Json:
    """Who wrote it; a webhook's message says so itself, in `extra`."""
    author = context.world.users.get(message.author_id)
    return {} if author is None else payloads.user(author)


def reaction(one: Reaction, reader: User) -> Json:
    """The users of one emoji, counted."""
    return {
        "emoji": reaction_emoji(one),
        "count": len(one.normal) + len(one.burst),
        "count_details": {"burst": len(one.burst), "normal": len(one.normal)},
        "burst_colors": ["#fea200"] if one.burst else [],
        "me": reader.id in one.normal,
        "me_burst": reader.id in one.burst,
    }


def reaction_emoji(one: Reaction) -> Json:
    custom = one.key.isdecimal() and one.key.isascii()
    body: Json = {"id": one.key if custom else None, "name": one.name}
    return body | ({"animated": True} if one.animated else {})


def _mentions(context: Context, message: Message) -> list[User]:
    if "<@" not in message.content:
        return []
    users = context.world.users
    ids = dict.fromkeys(int(number) for number in _MENTION.findall(message.content))
    return [users[number] for number in ids if number in users]


def _may_read(
    context: Context, reader: User, message: Message, mentions: list[User], content_intent: bool
) -> bool:
    """Discord's rule of the intent MESSAGE_CONTENT: one's own messages, mentions and direct messages are
    exempt.
    """
    if not reader.bot or message.author_id == reader.id or reader in mentions:
        return True
    if reader.message_content and content_intent:
        return True
    channel = context.world.find(message.channel_id)
    return channel is not None and channel.kind in PRIVATE


def _empty(body: Json) -> None:
    """Takes out what the intent is needed for, the forwarded part included."""
    body |= _EMPTIED
    body.pop("poll", None)
    if "message_snapshots" in body:
        inner = body["message_snapshots"][0]["message"]
        body["message_snapshots"] = [{"message": inner | _EMPTIED}]


def snapshot(seen: Mapping[str, Any]) -> Json:
    """What a forward keeps of a message, given its JSON; the files are copied apart from this."""
    return {key: seen[key] for key in _KEPT if key in seen} | {"attachments": []}


def _attachment(context: Context, message: Message, one: Attachment) -> Json:
    place = Place(message.channel_id, one.id, one.filename)
    path = f"attachments/{place.channel_id}/{place.attachment_id}/{place.filename}"
    query = context.signer.query(place, context.clock.now(), context.settings)
    body: Json = {
        "id": str(one.id),
        "filename": one.filename,
        "size": one.size,
        "url": f"{context.base_url}/{path}?{query}",
        "proxy_url": f"{context.base_url}/media/{path}?{query}",
        "flags": 0,
    }
    optional = {"content_type": one.content_type, "description": one.description, "title": one.title}
    body |= {key: value for key, value in optional.items() if value is not None}
    if is_image(one.filename, one.content_type):
        body |= {"width": one.width, "height": one.height}  # null where Discord could not tell
    return body
