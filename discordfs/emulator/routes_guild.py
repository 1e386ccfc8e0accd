"""The routes of the guild: itself, its roles and members, listing and making its channels. Event loop
only.
"""

from __future__ import annotations

from aiohttp import web

from . import channels, errors, payloads, payloads_things
from .bodies import read_json
from .context import Context, caller, context_of
from .errors import json_answer
from .gateway import active_threads
from .model import User
from .params import path_id
from .permissions import MANAGE_CHANNELS
from .routes_threads import listing

_MOST_CHANNELS = 500


def _guild(request: web.Request) -> Context:
    """The context, once the path names the one guild; ApiError 404 otherwise."""
    context = context_of(request)
    if path_id(request, "guild_id") != context.world.guild.id:
        raise errors.unknown_guild()
    return context


async def get_guild(request: web.Request) -> web.Response:
    world = _guild(request).world
    body = payloads.guild(world.guild, list(world.roles.values()), len(world.members))
    body["emojis"] = [payloads_things.emoji(each, world) for each in world.emojis]
    body["stickers"] = [payloads_things.sticker(each, world) for each in world.stickers]
    if request.query.get("with_counts") != "true":
        del body["approximate_member_count"], body["approximate_presence_count"]
    return json_answer(body)


async def get_roles(request: web.Request) -> web.Response:
    world = _guild(request).world
    return json_answer([payloads.role(each, world.guild) for each in world.roles.values()])


async def get_active_threads(request: web.Request) -> web.Response:
    context, user = _guild(request), caller(request)
    found = sorted(active_threads(context, user), key=lambda each: -each.id)
    return listing(context, found, user.id)


async def get_members(request: web.Request) -> web.Response:
    context = _guild(request)
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
    _guild(request)
    return json_answer(payloads.member(caller(request)))


def _member(request: web.Request) -> User:
    context = _guild(request)
    if request.match_info["user_id"] == "@me":
        return caller(request)
    user = context.world.users.get(path_id(request, "user_id"))
    if user is None or not user.member:
        raise errors.ApiError(404, 10007, "Unknown Member")
    return user


async def get_channels(request: web.Request) -> web.Response:
    """All channels: the list of a guild is no secret, unlike what is in them (Discord's documents)."""
    world = _guild(request).world
    return json_answer([payloads.channel(each, world.guild) for each in world.channels.values()])


async def create_channel(request: web.Request) -> web.Response:
    context = _guild(request)
    held = context.world.guild_permissions(caller(request))
    if not held & MANAGE_CHANNELS:
        raise errors.missing_permissions()
    body = await read_json(request)
    if len(context.world.channels) >= _MOST_CHANNELS:
        raise errors.ApiError(400, 30013, f"Maximum number of guild channels reached ({_MOST_CHANNELS})")
    channel = channels.new(context.ids.next(), body, context.world, held)
    await context.world.put_channel(channel)
    context.gateway.channel(context, "CHANNEL_CREATE", channel)
    return json_answer(payloads.channel(channel, context.world.guild), status=201)
