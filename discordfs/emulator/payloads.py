"""The JSON shapes of Discord's objects, as its OpenAPI file and documents give them.

Where a field means nothing to the emulator it has the value of a plain new server. Threading: pure.
"""

from __future__ import annotations

from typing import Any

from . import snowflake
from .clock import iso
from .model import (
    CATEGORY,
    MESSAGE_CHANNELS,
    POST_CHANNELS,
    PRIVATE_THREAD,
    STAGE,
    VOICE,
    Channel,
    Guild,
    Overwrite,
    Role,
    Tag,
    Thread,
    User,
)

Json = dict[str, Any]

# Flags of an application: the privileged intents it was granted. A bot in fewer than 100 servers
# has the flags called LIMITED, whose effect is the same.
MESSAGE_CONTENT_FLAG = 1 << 19
MEMBERS_FLAG = 1 << 15
PRESENCE_FLAG = 1 << 13
_MOST_COUNTED = 50  # members of a thread


def user(who: User) -> Json:
    """A user as others see them."""
    body: Json = {
        "id": str(who.id),
        "username": who.name,
        "avatar": who.avatar,
        "discriminator": "0000" if who.bot else "0",
        "public_flags": 0,
        "flags": 0,
        "banner": None,
        "accent_color": None,
        "global_name": who.display or (None if who.bot else who.name.capitalize()),
        "avatar_decoration_data": None,
        "collectibles": None,
        "primary_guild": None,
    }
    if who.bot:
        body["bot"] = True
    return body


def myself(who: User) -> Json:
    """A user as they see themselves."""
    return user(who) | {
        "mfa_enabled": True,
        "locale": "en-US",
        "premium_type": 0,
        "email": None,
        "verified": True,
    }


def application(who: User, owner: User) -> Json:
    """A bot's own application; its id is the bot's."""
    return {
        "id": str(who.id),
        "name": who.name,
        "icon": None,
        "description": "",
        "type": None,
        "bot": user(who),
        "summary": "",
        "bot_public": True,
        "bot_require_code_grant": False,
        "verify_key": f"{who.id:064x}",
        "flags": application_flags(who),
        "flags_new": str(application_flags(who)),
        "redirect_uris": [],
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "owner": user(owner),
        "approximate_guild_count": 1,
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "team": None,
        "eligible_oauth2_scopes": [],
    }


def application_flags(who: User) -> int:
    """The privileged intents an application was granted, as flag bits."""
    flags = MESSAGE_CONTENT_FLAG if who.message_content else 0
    return flags | (MEMBERS_FLAG | PRESENCE_FLAG if who.members else 0)


def role(one: Role, guild: Guild) -> Json:
    body: Json = {
        "id": str(one.id),
        "name": one.name,
        "description": None,
        "permissions": str(one.permissions),
        "position": 0 if one.id == guild.id else 1,
        "color": one.color,
        "colors": {"primary_color": one.color, "secondary_color": None, "tertiary_color": None},
        "hoist": one.hoist,
        "managed": one.managed,
        "mentionable": one.mentionable,
        "icon": one.icon,
        "unicode_emoji": one.symbol,
        "flags": 0,
    }
    return body


def member(who: User) -> Json:
    """A member of the guild, the user included."""
    return {"user": user(who)} | member_part(who)


def member_part(who: User) -> Json:
    """A member as a message's event carries it, without the user."""
    return {
        "avatar": who.guild_avatar,
        "banner": None,
        "communication_disabled_until": None,
        "flags": 0,
        "joined_at": iso(snowflake.time_of(who.id)),
        "nick": who.nick,
        "pending": False,
        "premium_since": None if who.boosting_ms is None else iso(who.boosting_ms),
        "roles": [str(each) for each in who.role_ids],
        "mute": False,
        "deaf": False,
    }


def overwrite(one: Overwrite) -> Json:
    return {"id": str(one.id), "type": one.kind, "allow": str(one.allow), "deny": str(one.deny)}


def channel(one: Channel, guild: Guild) -> Json:
    """A channel or a thread of the guild."""
    if one.thread is not None:
        return _thread(one, one.thread, guild)
    body: Json = {
        "id": str(one.id),
        "type": one.kind,
        "flags": 0,
        "guild_id": str(guild.id),
        "name": one.name,
        "position": one.position,
        "parent_id": _text(one.parent_id),
        "permission_overwrites": [overwrite(each) for each in one.overwrites],
        "nsfw": one.nsfw,
    }
    if one.kind == CATEGORY:
        return body
    body |= {"topic": one.topic, "rate_limit_per_user": one.rate_limit_per_user}
    body |= {"last_message_id": _text(one.last_message_id)}
    if one.kind in MESSAGE_CHANNELS:
        body["last_pin_timestamp"] = None if one.last_pin_ms is None else iso(one.last_pin_ms)
    if one.kind in (VOICE, STAGE):
        body |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None}
    if one.kind in POST_CHANNELS:
        body |= {
            "available_tags": [tag(each) for each in one.tags],
            "default_reaction_emoji": None,
            "default_sort_order": None,
            "default_forum_layout": 0,
        }
    return body


def tag(one: Tag) -> Json:
    return {
        "id": str(one.id),
        "name": one.name,
        "moderated": one.moderated,
        "emoji_id": None,
        "emoji_name": one.emoji,
    }


def _thread(one: Channel, facts: Thread, guild: Guild) -> Json:
    body: Json = {
        "id": str(one.id),
        "type": one.kind,
        "last_message_id": _text(one.last_message_id),
        "flags": 0,
        "last_pin_timestamp": None if one.last_pin_ms is None else iso(one.last_pin_ms),
        "guild_id": str(guild.id),
        "name": one.name,
        "parent_id": _text(one.parent_id),
        "rate_limit_per_user": one.rate_limit_per_user,
        "owner_id": str(facts.owner_id),
        "thread_metadata": {
            "archived": facts.archived,
            "archive_timestamp": iso(facts.archived_ms),
            "auto_archive_duration": facts.auto_archive,
            "locked": facts.locked,
            "create_timestamp": iso(facts.created_ms),
        },
        "message_count": one.messages,
        "member_count": min(_MOST_COUNTED, len(facts.members)),
        "total_message_sent": one.sent,
    }
    if one.kind == PRIVATE_THREAD:
        body["thread_metadata"]["invitable"] = facts.invitable
    if facts.tag_ids:
        body["applied_tags"] = [str(each) for each in facts.tag_ids]
    return body


def thread_members(one: Channel) -> list[Json]:
    """Who is in a thread, by id."""
    members = () if one.thread is None else sorted(one.thread.members)
    return [
        {"id": str(one.id), "user_id": str(user_id), "join_timestamp": iso(joined), "flags": 0}
        for user_id, joined in members
    ]


def thread_for(one: Channel, guild: Guild, user_id: int) -> Json:
    """A thread with what this user is in it."""
    own = [each for each in thread_members(one) if each["user_id"] == str(user_id)]
    return channel(one, guild) | ({"member": own[0]} if own else {})


def private_channel(one: Channel, recipients: list[User]) -> Json:
    """A channel of direct messages; `recipients` are all but who reads this."""
    return {
        "id": str(one.id),
        "type": one.kind,
        "last_message_id": _text(one.last_message_id),
        "flags": 0,
        "last_pin_timestamp": None if one.last_pin_ms is None else iso(one.last_pin_ms),
        "recipients": [user(each) for each in recipients],
    }


def guild(one: Guild, roles: list[Role], members: int) -> Json:
    return {
        "id": str(one.id),
        "name": one.name,
        "icon": one.icon,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "features": [],
        "banner": None,
        "owner_id": str(one.owner_id),
        "application_id": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "roles": [role(each, one) for each in roles],
        "default_message_notifications": 0,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_presences": None,
        "max_members": 500000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
        "emojis": [],
        "stickers": [],
        "incidents_data": None,
        "approximate_member_count": members,
        "approximate_presence_count": members,
    }


def _text(snowflake_id: int | None) -> str | None:
    return None if snowflake_id is None else str(snowflake_id)
