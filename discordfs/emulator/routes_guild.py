"""The routes of the guild: itself, its roles and members, listing and making its channels. Event loop
only.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from . import channels, errors, gateway, payloads, payloads_things
from .bodies import read_json
from .context import Context, caller, context_of
from .errors import json_answer
from .model import Role, User
from .params import flag_param, path_id
from .permissions import MANAGE_CHANNELS, MANAGE_ROLES
from .routes_threads import listing
from .sessions import GUILDS

_MOST_CHANNELS = 500
_MOST_ROLE_NAME = 100


def guild_of(request: web.Request) -> Context:
    """The context, once the path names the one guild; ApiError 404 otherwise."""
    context = context_of(request)
    if path_id(request, "guild_id") != context.world.guild.id:
        raise errors.unknown_guild()
    return context


async def get_guild(request: web.Request) -> web.Response:
    world = guild_of(request).world
    body = payloads.guild(world.guild, list(world.roles.values()), len(world.members))
    body["emojis"] = [payloads_things.emoji(each, world) for each in world.emojis]
    body["stickers"] = [payloads_things.sticker(each, world) for each in world.stickers]
    if not flag_param(request, "with_counts"):
        del body["approximate_member_count"], body["approximate_presence_count"]
    return json_answer(body)


async def get_roles(request: web.Request) -> web.Response:
    world = guild_of(request).world
    return json_answer([payloads.role(each, world.guild) for each in world.roles.values()])


async def get_role(request: web.Request) -> web.Response:
    world = guild_of(request).world
    role = world.roles.get(path_id(request, "role_id"))
    if role is None:
        raise errors.ApiError(404, 10011, "Unknown Role")
    return json_answer(payloads.role(role, world.guild))


async def create_role(request: web.Request) -> web.Response:
    """A role with what of `name`, `permissions`, `color`, `hoist` and `mentionable` is given."""
    context, body = guild_of(request), await read_json(request)
    held = context.world.guild_permissions(caller(request))
    granted = str(body.get("permissions") or 0)
    if not held & MANAGE_ROLES or not granted.isdecimal() or int(granted) & ~held:
        raise errors.missing_permissions()
    name, color = str(body.get("name", "new role")), body.get("color") or 0
    if len(name) > _MOST_ROLE_NAME or not isinstance(color, int):
        message = f"Must be {_MOST_ROLE_NAME} or fewer in length."
        raise errors.invalid_form("name", "BASE_TYPE_MAX_LENGTH", message)
    role = Role(context.ids.next(), name, int(granted), color=color)
    role = replace(role, hoist=body.get("hoist") is True, mentionable=body.get("mentionable") is True)
    await context.world.put_role(role)
    data = {"guild_id": str(context.world.guild.id), "role": payloads.role(role, context.world.guild)}
    context.sessions.tell("GUILD_ROLE_CREATE", GUILDS, data)
    return json_answer(payloads.role(role, context.world.guild))


async def get_active_threads(request: web.Request) -> web.Response:
    context, user = guild_of(request), caller(request)
    found = sorted(context.world.active_threads(user), key=lambda each: -each.id)
    return listing(context, found, user.id)


async def get_members(request: web.Request) -> web.Response:
    context = guild_of(request)
    if not caller(request).members:
        raise errors.missing_access()
    limit = request.query.get("limit", "1")
    after = request.query.get("after", "0")
    if not (limit.isdecimal() and 1 <= int(limit) <= 1000 and after.isdecimal()):
        raise errors.invalid_form("limit", "NUMBER_TYPE_MAX", "Must be between 1 and 1000.")
    users = context.world.members
    return json_answer([payloads.member(user) for user in users if user.id > int(after)][: int(limit)])


async def get_member(request: web.Request) -> web.Response:
    return json_answer(payloads.member(_member(request)))


async def my_member(request: web.Request) -> web.Response:
    guild_of(request)
    return json_answer(payloads.member(caller(request)))


def _member(request: web.Request) -> User:
    context = guild_of(request)
    if request.match_info["user_id"] == "@me":
        return caller(request)
    user = context.world.users.get(path_id(request, "user_id"))
    if user is None or not user.member:
        raise errors.ApiError(404, 10007, "Unknown Member")
    return user


async def get_channels(request: web.Request) -> web.Response:
    """All channels: the list of a guild is no secret, unlike what is in them (Discord's documents)."""
    world = guild_of(request).world
    return json_answer([payloads.channel(each, world.guild) for each in world.channels.values()])


async def create_channel(request: web.Request) -> web.Response:
    context = guild_of(request)
    held = context.world.guild_permissions(caller(request))
    if not held & MANAGE_CHANNELS:
        raise errors.missing_permissions()
    body = await read_json(request)
    if len(context.world.channels) >= _MOST_CHANNELS:
        raise errors.ApiError(400, 30013, f"Maximum number of guild channels reached ({_MOST_CHANNELS})")
    channel = channels.new(context.ids.next(), body, context.world, held)
    await context.world.put_channel(channel)
    gateway.tell_channel(context, "CHANNEL_CREATE", channel)
    return json_answer(payloads.channel(channel, context.world.guild), status=201)
