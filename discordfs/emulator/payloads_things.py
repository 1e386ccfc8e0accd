"""The JSON shapes of the small things of a guild: emojis, stickers, webhooks, invites, bans.

Threading: pure, but that they look names up in the guild, which belongs to the event loop.
"""

from __future__ import annotations

from typing import Any

from . import payloads
from .clock import iso
from .model import Ban, Channel, Emoji, Guild, Invite, Sticker, Webhook
from .world import World

Json = dict[str, Any]
_GUILD_STICKER = 2


def emoji(one: Emoji, world: World) -> Json:
    body: Json = {
        "id": str(one.id),
        "name": one.name,
        "roles": [str(each) for each in one.role_ids],
        "require_colons": True,
        "managed": False,
        "animated": one.animated,
        "available": one.available,
    }
    return body | _maker(one.user_id, world)


def sticker(one: Sticker, world: World) -> Json:
    body: Json = {
        "id": str(one.id),
        "name": one.name,
        "tags": one.tags,
        "type": _GUILD_STICKER,
        "format_type": one.form,
        "description": one.description,
        "available": one.available,
        "guild_id": str(world.guild.id),
    }
    return body | _maker(one.user_id, world)


def sticker_item(one: Sticker) -> Json:
    """A sticker as a message has it."""
    return {"id": str(one.id), "name": one.name, "format_type": one.form}


def webhook(one: Webhook, world: World, base_url: str, by_token: bool = False) -> Json:
    """A webhook with its secret. `by_token`: for somebody of whom nothing is known but that they have it."""
    body: Json = {
        "application_id": None,
        "avatar": one.avatar,
        "channel_id": str(one.channel_id),
        "guild_id": str(world.guild.id),
        "id": str(one.id),
        "name": one.name,
        "type": one.kind,
    }
    if not by_token:
        body |= _maker(one.user_id, world)
    if one.source_id is not None:
        source = {"id": "1", "name": "Elsewhere", "icon": None}
        return body | {"source_guild": source, "source_channel": {"id": str(one.source_id), "name": "news"}}
    return body | {"token": one.token, "url": f"{base_url}/api/webhooks/{one.id}/{one.token}"}


def invite(one: Invite, world: World) -> Json:
    """An invite as anybody sees it who has its code."""
    guild, channel = world.guild, world.channels.get(one.channel_id)
    if one.elsewhere is not None:
        guild = Guild(one.channel_id - 1, one.elsewhere, 0)
        channel = Channel(one.channel_id, 0, "welcome")
    ends = None if not one.max_age else iso(one.created_ms + one.max_age * 1000)
    body: Json = {
        "type": 0,
        "code": one.code,
        "expires_at": ends,
        "flags": 0,
        "guild": _invited_to(guild),
        "guild_id": str(guild.id),
        "channel": {
            "id": str(one.channel_id),
            "type": 0 if channel is None else channel.kind,
            "name": None if channel is None else channel.name,
        },
    }
    inviter = world.users.get(one.user_id)
    return body | ({} if inviter is None else {"inviter": payloads.user(inviter)})


def invite_facts(one: Invite) -> Json:
    """What else those may know of an invite who manage its channel."""
    return {
        "uses": one.uses,
        "max_uses": one.max_uses,
        "max_age": one.max_age,
        "temporary": one.temporary,
        "created_at": iso(one.created_ms),
    }


def _invited_to(guild: Guild) -> Json:
    return {
        "id": str(guild.id),
        "name": guild.name,
        "splash": None,
        "banner": None,
        "description": None,
        "icon": guild.icon,
        "features": [],
        "verification_level": 0,
        "vanity_url_code": None,
        "nsfw_level": 0,
        "nsfw": False,
        "premium_subscription_count": 0,
    }


def ban(one: Ban, world: World) -> Json:
    return {"user": payloads.user(world.users[one.id]), "reason": one.reason}


def _maker(user_id: int, world: World) -> Json:
    maker = world.users.get(user_id)
    return {} if maker is None else {"user": payloads.user(maker)}
