"""The routes of invites and bans. Threading: event loop only."""

from __future__ import annotations

import secrets

from aiohttp import web

from . import payloads, payloads_things
from .bodies import read_json
from .context import Context, caller, context_of
from .errors import ApiError, invalid_form, json_answer, missing_permissions
from .model import Ban, Channel, Invite
from .params import flag_param, limit_param, path_id, snowflake_param
from .permissions import BAN_MEMBERS, CREATE_INVITE, MANAGE_CHANNELS, MANAGE_GUILD
from .routes_guild import guild_of

_MOST_AGE, _MOST_USES = 604800, 100


def _channel(request: web.Request, needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), needed)


def _living(context: Context) -> list[Invite]:
    """The guild's own invites that are not over."""
    now = context.clock.now_ms()
    return [each for each in context.world.invites if each.elsewhere is None and not _over(each, now)]


def _over(invite: Invite, now: int) -> bool:
    used_up = bool(invite.max_uses) and invite.uses >= invite.max_uses
    return used_up or (bool(invite.max_age) and now >= invite.created_ms + invite.max_age * 1000)


def _whole(context: Context, one: Invite) -> payloads.Json:
    return payloads_things.invite(one, context.world) | payloads_things.invite_facts(one)


async def list_of_guild(request: web.Request) -> web.Response:
    context = guild_of(request)
    if not context.world.guild_permissions(caller(request)) & MANAGE_GUILD:
        raise missing_permissions()
    return json_answer([_whole(context, each) for each in _living(context)])


async def list_of_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_CHANNELS)
    return json_answer([_whole(context, each) for each in _living(context) if each.channel_id == channel.id])


async def create(request: web.Request) -> web.Response:
    context, channel, body = context_of(request), _channel(request, CREATE_INVITE), await read_json(request)
    if channel.thread is not None or channel.id not in context.world.channels:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    made = Invite(
        code=secrets.token_urlsafe(6).replace("-", "x").replace("_", "y"),
        channel_id=channel.id,
        user_id=caller(request).id,
        created_ms=context.clock.now_ms(),
        max_age=_number(body.get("max_age", 86400), "max_age", _MOST_AGE),
        max_uses=_number(body.get("max_uses", 0), "max_uses", _MOST_USES),
        temporary=body.get("temporary") is True,
    )
    await context.world.invites.put(made)
    return json_answer(_whole(context, made))


def _number(value: object, key: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise invalid_form(key, "NUMBER_TYPE_MAX", f"int value should be less than or equal to {most}.")
    return value


def _named(request: web.Request) -> Invite:
    context = context_of(request)
    invite = context.world.invites.get(request.match_info["code"])
    if invite is None or _over(invite, context.clock.now_ms()):
        raise ApiError(404, 10006, "Unknown Invite")
    return invite


async def get(request: web.Request) -> web.Response:
    """What anybody may know of an invite, without a token too."""
    context, invite = context_of(request), _named(request)
    body = payloads_things.invite(invite, context.world)
    if flag_param(request, "with_counts"):
        members = len(context.world.members) if invite.elsewhere is None else 1234
        body |= {"approximate_member_count": members, "approximate_presence_count": members // 2}
    return json_answer(body)


async def delete(request: web.Request) -> web.Response:
    context, invite = context_of(request), _named(request)
    context.world.channel(caller(request), invite.channel_id, MANAGE_CHANNELS)
    await context.world.invites.drop(invite)
    return json_answer(_whole(context, invite))


# --- bans


def _judge(request: web.Request) -> Context:
    """The context, if the caller may ban."""
    context = guild_of(request)
    if not context.world.guild_permissions(caller(request)) & BAN_MEMBERS:
        raise missing_permissions()
    return context


async def list_bans(request: web.Request) -> web.Response:
    """By the users' ids."""
    world = _judge(request).world
    limit, after = limit_param(request, default=1000, most=1000), snowflake_param(request, "after") or 0
    found = sorted((each for each in world.bans if each.id > after), key=lambda each: each.id)
    return json_answer([payloads_things.ban(each, world) for each in found[:limit]])


async def get_ban(request: web.Request) -> web.Response:
    world = _judge(request).world
    ban = world.bans.get(path_id(request, "user_id"))
    if ban is None:
        raise ApiError(404, 10026, "Unknown Ban")
    return json_answer(payloads_things.ban(ban, world))


async def put_ban(request: web.Request) -> web.Response:
    """The user is out of the guild from now on; what they wrote stays."""
    context, user_id = _judge(request), path_id(request, "user_id")
    user = context.world.users.get(user_id)
    if user is None:
        raise ApiError(404, 10013, "Unknown User")
    await context.world.leave(user)
    await context.world.bans.put(Ban(user.id, request.headers.get("X-Audit-Log-Reason")))
    return web.Response(status=204)
