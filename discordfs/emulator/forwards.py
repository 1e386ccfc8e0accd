"""Forwarding: what a forward keeps of a message, and copies of its files.

The files of a forward are copies of their own, so that it stays whole when the original goes. Threading:
event loop only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import errors, messages
from .context import Context
from .drafts import Addition
from .model import User
from .permissions import READ_MESSAGE_HISTORY
from .urls import HERE


async def prepared(context: Context, reader: User, reference: Mapping[str, Any]) -> Addition:
    """What `reader` forwards; ApiError if there is no such message, or they may not read it."""
    channel_id, message_id = int(str(reference["channel_id"])), int(str(reference["message_id"]))
    channel = context.world.channel(reader, channel_id)
    if not context.world.permissions(reader, channel) & READ_MESSAGE_HISTORY:
        raise errors.missing_access()
    source = await context.store.run(lambda database: database.message(channel_id, message_id))
    if source is None:
        raise errors.invalid_form("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
    if source.kind not in (0, 19) or "poll" in source.extra:
        raise errors.ApiError(400, 160014, "Cannot forward message whose content cannot be forwarded")
    kept = json.dumps(messages.snapshot(messages.as_json(context, source, reader)))
    named: dict[str, object] = {"type": 1, "channel_id": str(channel_id), "message_id": str(message_id)}
    if channel_id not in context.world.private:
        named["guild_id"] = str(context.world.guild.id)
    inner = json.loads(kept.replace(context.base_url, HERE))
    extra = {"message_reference": named, "message_snapshots": [{"message": inner}]}
    return Addition(extra, tuple(each for each in source.attachments if not each.forwarded))
