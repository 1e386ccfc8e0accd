"""Messages as JSON, as one reader sees them. Threading: event loop only (it reads the guild and the
clock).
"""

from __future__ import annotations

import re
from typing import Any

from . import payloads, snowflake
from .clock import iso
from .context import Context
from .filenames import is_image
from .model import Attachment, Message, User
from .urls import Place

_MENTION = re.compile(r"<@!?(\d{1,20})>")


def as_json(context: Context, message: Message, reader: User, content_intent: bool = True) -> dict[str, Any]:
    """A message for `reader`; on the gateway `content_intent` tells whether the session asked for it."""
    author = context.world.users[message.author_id]
    mentions = _mentions(context, message)
    body: dict[str, Any] = {
        "type": message.kind,
        "content": message.content,
        "mentions": [payloads.user(each) for each in mentions],
        "mention_roles": [],
        "mention_everyone": False,
        "attachments": [_attachment(context, message, each) for each in message.attachments],
        "embeds": [],
        "timestamp": iso(snowflake.time_of(message.id)),
        "edited_timestamp": None if message.edited_ms is None else iso(message.edited_ms),
        "flags": message.flags,
        "components": [],
        "id": str(message.id),
        "channel_id": str(message.channel_id),
        "author": payloads.user(author),
        "pinned": message.pinned_ms is not None,
        "tts": message.tts,
        **message.extra,
    }
    if not _may_read(reader, message, mentions, content_intent):
        body |= {"content": "", "embeds": [], "attachments": [], "components": []}
    return body


def _mentions(context: Context, message: Message) -> list[User]:
    users = context.world.users
    ids = dict.fromkeys(int(number) for number in _MENTION.findall(message.content))
    return [users[number] for number in ids if number in users]


def _may_read(reader: User, message: Message, mentions: list[User], content_intent: bool) -> bool:
    """Discord's rule of the intent MESSAGE_CONTENT: one's own messages and mentions are exempt."""
    if not reader.bot or message.author_id == reader.id or reader in mentions:
        return True
    return reader.message_content and content_intent


def _attachment(context: Context, message: Message, one: Attachment) -> dict[str, Any]:
    place = Place(message.channel_id, one.id, one.filename)
    path = f"attachments/{place.channel_id}/{place.attachment_id}/{place.filename}"
    query = context.signer.query(place, context.clock.now(), context.settings)
    body: dict[str, Any] = {
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
