"""The routes of reactions, of both kinds: normal ones, and bursts ("super reactions").

Only people can burst, with `?type=1` as their client asks for it. Threading: event loop only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from . import emojis, errors, gateway, messages, payloads, threads
from .context import Context, caller, context_of
from .errors import ApiError, invalid_form, json_answer
from .model import Channel, Message, Reaction, User
from .params import limit_param, path_id, snowflake_param
from .permissions import ADD_REACTIONS, MANAGE_MESSAGES, READ_MESSAGE_HISTORY
from .routes_messages import find
from .sessions import GUILD_MESSAGE_REACTIONS

_MOST_EMOJIS = 20


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


def _emoji(request: web.Request, message: Message) -> Reaction:
    """The emoji that the path names, with the users of it that are there."""
    one = emojis.named(request.match_info["emoji"], context_of(request).world, message.reactions)
    return next((each for each in message.reactions if each.key == one.key), one)


def _burst(request: web.Request) -> bool:
    text = request.query.get("type", "0")
    if text not in ("0", "1"):
        raise invalid_form("type", "BASE_TYPE_CHOICES", "Value must be one of (0, 1).")
    return text == "1"


async def users(request: web.Request) -> web.Response:
    """Who reacted with an emoji, by id, page by page."""
    context, channel = context_of(request), _channel(request, READ_MESSAGE_HISTORY)
    message = await find(request, channel)
    one, burst = _emoji(request, message), _burst(request)
    after, limit = snowflake_param(request, "after") or 0, limit_param(request, default=25, most=100)
    ids = await context.store.run(
        lambda database: database.reactors(message.id, one.key, burst, after, limit)
    )
    return json_answer([payloads.user(context.world.users[each]) for each in ids])


async def add(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, READ_MESSAGE_HISTORY)
    threads.check_open(channel)
    message, user = await find(request, channel), caller(request)
    one, burst = _emoji(request, message), _burst(request)
    if burst and user.bot:
        raise errors.missing_permissions()
    if not (one.normal or one.burst):
        _channel(request, ADD_REACTIONS)
        if len(message.reactions) >= _MOST_EMOJIS:
            raise ApiError(400, 30010, f"Maximum number of reactions reached ({_MOST_EMOJIS})")
    await react(context, channel, message, user, one, burst)
    return web.Response(status=204)


async def react(
    context: Context, channel: Channel, message: Message, user: User, one: Reaction, burst: bool
) -> None:
    """Adds a user's reaction and tells of it, unless it is there."""
    own = replace(one, normal=() if burst else (user.id,), burst=(user.id,) if burst else ())
    added = context.ids.next()
    if not await context.store.run(lambda database: database.add_reaction(message.id, own, added)):
        return
    data = _event(context, channel, message.id) | _whose(user, own)
    data["message_author_id"] = str(message.author_id)
    if user.member and "guild_id" in data:
        data["member"] = payloads.member(user)
    if burst:
        data["burst_colors"] = ["#fea200"]
    gateway.tell(context, "MESSAGE_REACTION_ADD", channel, GUILD_MESSAGE_REACTIONS, data)


def _event(context: Context, channel: Channel, message_id: int) -> dict[str, Any]:
    return gateway.base(context, channel) | {"message_id": str(message_id)}


def _whose(user: User, one: Reaction) -> dict[str, Any]:
    burst = bool(one.burst)
    emoji = messages.reaction_emoji(one)
    return {"user_id": str(user.id), "emoji": emoji, "burst": burst, "type": int(burst)}


async def remove(request: web.Request) -> web.Response:
    """One user's, of either kind; another's with MANAGE_MESSAGES."""
    context, channel = context_of(request), _channel(request)
    threads.check_open(channel)
    message = await find(request, channel)
    own = request.match_info["user_id"] == "@me"
    user = caller(request) if own else context.world.users.get(path_id(request, "user_id"))
    if not own:
        _channel(request, MANAGE_MESSAGES)
    if user is None:
        raise ApiError(404, 10013, "Unknown User")
    one, user_id = _emoji(request, message), user.id
    gone = await context.store.run(lambda database: database.drop_reactions(message.id, one.key, user_id))
    kinds = [replace(one, normal=(user_id,), burst=())] if user_id in one.normal else []
    kinds += [replace(one, normal=(), burst=(user_id,))] if user_id in one.burst else []
    for each in kinds if gone else ():
        data = _event(context, channel, message.id) | _whose(user, each)
        gateway.tell(context, "MESSAGE_REACTION_REMOVE", channel, GUILD_MESSAGE_REACTIONS, data)
    return web.Response(status=204)


async def remove_emoji(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_MESSAGES)
    message = await find(request, channel)
    one = _emoji(request, message)
    if await context.store.run(lambda database: database.drop_reactions(message.id, one.key)):
        data = _event(context, channel, message.id) | {"emoji": messages.reaction_emoji(one)}
        name = "MESSAGE_REACTION_REMOVE_EMOJI"
        gateway.tell(context, name, channel, GUILD_MESSAGE_REACTIONS, data)
    return web.Response(status=204)


async def remove_all(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_MESSAGES)
    message = await find(request, channel)
    if await context.store.run(lambda database: database.drop_reactions(message.id)):
        data = _event(context, channel, message.id)
        gateway.tell(context, "MESSAGE_REACTION_REMOVE_ALL", channel, GUILD_MESSAGE_REACTIONS, data)
    return web.Response(status=204)
