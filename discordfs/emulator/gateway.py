"""The gateway's side of events: who learns of what. The connections are in `gateway_socket`.

Threading: event loop only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import messages, payloads, payloads_things
from .clock import iso
from .context import Context
from .model import PRIVATE, Channel, Message, User
from .sessions import GUILD_MESSAGES, GUILDS, IN_PRIVATE, MESSAGE_CONTENT, Session

Json = dict[str, Any]


def tell_message(context: Context, name: str, message: Message, nonce: str | None = None) -> None:
    """MESSAGE_CREATE or MESSAGE_UPDATE."""
    channel = context.world.find(message.channel_id)
    if channel is None:
        return  # it was deleted while the message was on its way
    author = context.world.users.get(message.author_id)
    more = base(context, channel) | {"channel_type": channel.kind}
    if author is not None and author.member and channel.kind not in PRIVATE:
        more["member"] = payloads.member_part(author)
    for session in _listeners(context, channel, GUILD_MESSAGES):
        wants_content = bool(session.intents & MESSAGE_CONTENT)
        data = messages.as_json(context, message, session.user, wants_content) | more
        session.dispatch(name, data if nonce is None else data | {"nonce": nonce})


def tell_deleted(context: Context, channel: Channel, ids: Sequence[int]) -> None:
    """MESSAGE_DELETE for one message, MESSAGE_DELETE_BULK for several."""
    data = base(context, channel)
    if len(ids) == 1:
        tell(context, "MESSAGE_DELETE", channel, GUILD_MESSAGES, data | {"id": str(ids[0])})
    elif ids:
        data["ids"] = [str(each) for each in ids]
        tell(context, "MESSAGE_DELETE_BULK", channel, GUILD_MESSAGES, data)


def tell(context: Context, name: str, channel: Channel, intent: int, data: Json) -> None:
    """Any event of a channel, to those who see the channel and have the intent."""
    for session in _listeners(context, channel, intent):
        session.dispatch(name, data)


def tell_channel(context: Context, name: str, channel: Channel, seen_before: Channel | None = None) -> None:
    """CHANNEL_CREATE, CHANNEL_UPDATE or CHANNEL_DELETE, to those who see it (or saw it before)."""
    data = payloads.channel(channel, context.world.guild)
    for session in context.sessions.with_intent(GUILDS):
        before = seen_before is not None and context.world.can_view(session.user, seen_before)
        after = context.world.can_view(session.user, channel)
        if before or after:
            session.dispatch(name, data)
        if seen_before is not None and after and not before:
            session.dispatch("THREAD_LIST_SYNC", _thread_sync(context, session.user, channel))


def tell_pins(context: Context, channel: Channel) -> None:
    """CHANNEL_PINS_UPDATE."""
    when = None if channel.last_pin_ms is None else iso(channel.last_pin_ms)
    data = base(context, channel) | {"last_pin_timestamp": when}
    tell(context, "CHANNEL_PINS_UPDATE", channel, GUILDS, data)


def _listeners(context: Context, channel: Channel, intent: int) -> list[Session]:
    sessions = context.sessions.with_intent(IN_PRIVATE[intent] if channel.kind in PRIVATE else intent)
    return [each for each in sessions if context.world.can_view(each.user, channel)]


def base(context: Context, channel: Channel) -> Json:
    """Where something happened."""
    where = {"channel_id": str(channel.id)}
    return where if channel.kind in PRIVATE else where | {"guild_id": str(context.world.guild.id)}


def _thread_sync(context: Context, user: User, channel: Channel) -> Json:
    """The data of THREAD_LIST_SYNC: the active threads of a channel that has just come into view."""
    found = [each for each in context.world.active_threads(user) if each.parent_id == channel.id]
    members = [member for each in found for member in payloads.thread_members(each)]
    return {
        "guild_id": str(context.world.guild.id),
        "channel_ids": [str(channel.id)],
        "threads": [payloads.channel(each, context.world.guild) for each in found],
        "members": [each for each in members if each["user_id"] == str(user.id)],
    }


def ready(context: Context, session: Session) -> Json:
    """The data of READY."""
    user = session.user
    return {
        "v": 10,
        "user": payloads.myself(user),
        "user_settings": {},
        "guilds": [{"id": str(context.world.guild.id), "unavailable": True}],
        "session_id": session.id,
        "session_type": "normal",
        "resume_gateway_url": gateway_url(context),
        "application": {"id": str(user.id), "flags": payloads.application_flags(user)},
        "relationships": [],
        "private_channels": [],
        "presences": [],
        "guild_join_requests": [],
        "geo_ordered_rtc_regions": [],
        "_trace": [],
    }


def guild_create(context: Context, session: Session) -> Json:
    """The data of GUILD_CREATE: the guild with all this user sees of it."""
    world = context.world
    visible = [each for each in world.channels.values() if world.can_view(session.user, each)]
    body = payloads.guild(world.guild, list(world.roles.values()), len(world.members))
    body["emojis"] = [payloads_things.emoji(each, world) for each in world.emojis]
    body["stickers"] = [payloads_things.sticker(each, world) for each in world.stickers]
    return body | {
        "joined_at": payloads.member_part(session.user)["joined_at"],
        "large": False,
        "unavailable": False,
        "member_count": len(world.members),
        "voice_states": [],
        "members": [payloads.member(each) for each in world.members],
        "channels": [payloads.channel(each, world.guild) for each in visible],
        "threads": [payloads.channel(each, world.guild) for each in world.active_threads(session.user)],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def gateway_url(context: Context) -> str:
    """Where clients connect."""
    return context.base_url.replace("http", "ws", 1) + "/gateway"
