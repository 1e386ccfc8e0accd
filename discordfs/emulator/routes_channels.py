"""The routes of one channel: get, edit, delete, permissions, typing; and opening direct messages.

Threading: event loop only.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from . import channels, errors, gateway, payloads, threads
from .bodies import read_json
from .context import Context, caller, context_of
from .errors import json_answer
from .model import DM, PRIVATE, Channel
from .params import path_id
from .permissions import MANAGE_CHANNELS, MANAGE_ROLES, MANAGE_THREADS, SEND_MESSAGES


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


def _json(request: web.Request, channel: Channel) -> payloads.Json:
    """The channel as the caller sees it, of whatever kind it is."""
    world, reader = context_of(request).world, caller(request)
    if channel.kind in PRIVATE:
        return payloads.private_channel(
            channel, [world.users[each] for each in channel.recipients if each != reader.id]
        )
    if channel.thread is not None:
        return payloads.thread_for(channel, world.guild, reader.id)
    return payloads.channel(channel, world.guild)


async def get_channel(request: web.Request) -> web.Response:
    return json_answer(_json(request, _channel(request)))


async def open_private(request: web.Request) -> web.Response:
    """POST /users/@me/channels: the direct messages with somebody, made at the first call."""
    context, own = context_of(request), caller(request)
    wanted = str((await read_json(request)).get("recipient_id", ""))
    other = context.world.users.get(int(wanted) if wanted.isdecimal() else 0)
    if other is None or other.id == own.id:
        raise errors.ApiError(400, 50033, "Invalid Recipient(s)")
    both = {own.id, other.id}
    channel = next((each for each in context.world.private.values() if set(each.recipients) == both), None)
    if channel is None:
        channel = Channel(context.ids.next(), DM, "", recipients=(own.id, other.id))
        await context.world.put_channel(channel)
    return json_answer(_json(request, channel))


async def edit_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    if channel.thread is not None:
        changed = threads.changed(context, caller(request), channel, await read_json(request), channel.thread)
        await threads.change(context, changed)
        return json_answer(_json(request, context.world.threads[channel.id]))
    _channel(request, MANAGE_CHANNELS)
    body = await read_json(request)
    if body.get("permission_overwrites") is not None:
        _channel(request, MANAGE_ROLES)
    held = context.world.permissions(caller(request), channel)
    changed = channels.changed(channel, body, context.world, held)
    await change(context, channel, changed)
    return json_answer(payloads.channel(changed, context.world.guild))


async def change(context: Context, before: Channel, after: Channel) -> None:
    """Keeps a changed channel and tells of it."""
    await context.world.put_channel(after)
    gateway.tell_channel(context, "CHANNEL_UPDATE", after, seen_before=before)


async def delete_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    if channel.kind in PRIVATE:
        return json_answer(_json(request, channel))  # closed, for a person's eyes; it stays what it was
    _channel(request, MANAGE_CHANNELS if channel.thread is None else MANAGE_THREADS)
    if channel.thread is not None:
        threads.tell(context, "THREAD_DELETE", channel)
    gone = await context.world.drop_channel(channel.id)
    await asyncio.get_running_loop().run_in_executor(None, context.files.remove, gone)
    if channel.thread is not None:
        return json_answer(payloads.channel(channel, context.world.guild))
    gateway.tell_channel(context, "CHANNEL_DELETE", channel)
    for child in [each for each in context.world.channels.values() if each.parent_id == channel.id]:
        await change(context, child, replace(child, parent_id=None))
    return json_answer(payloads.channel(channel, context.world.guild))


def _with_overwrites(request: web.Request) -> Channel:
    """The channel, if it has exceptions of its own and the caller may change them."""
    channel = _channel(request, MANAGE_ROLES)
    if channel.thread is not None:
        raise errors.ApiError(400, 50024, "Cannot execute action on this channel type")
    return channel


async def put_permission(request: web.Request) -> web.Response:
    context, channel = context_of(request), _with_overwrites(request)
    body = {**await read_json(request), "id": str(path_id(request, "overwrite_id"))}
    made = channels.overwrite(body, context.world.permissions(caller(request), channel))
    others = tuple(each for each in channel.overwrites if each.id != made.id)
    await change(context, channel, replace(channel, overwrites=(*others, made)))
    return web.Response(status=204)


async def delete_permission(request: web.Request) -> web.Response:
    context, channel = context_of(request), _with_overwrites(request)
    overwrite_id = path_id(request, "overwrite_id")
    others = tuple(each for each in channel.overwrites if each.id != overwrite_id)
    if len(others) == len(channel.overwrites):
        raise errors.ApiError(404, 10009, "Unknown Overwrite")
    await change(context, channel, replace(channel, overwrites=others))
    return web.Response(status=204)


async def typing(request: web.Request) -> web.Response:
    _channel(request, SEND_MESSAGES)
    return web.Response(status=204)
