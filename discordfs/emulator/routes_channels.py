"""The routes of one channel: get, edit, delete, permissions, typing. Threading: event loop only."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiohttp import web

from . import channels, errors, payloads
from .bodies import read_json
from .context import Context, caller, context_of
from .errors import json_answer
from .model import Channel
from .params import path_id
from .permissions import MANAGE_CHANNELS, MANAGE_ROLES, SEND_MESSAGES


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


async def get_channel(request: web.Request) -> web.Response:
    return json_answer(payloads.channel(_channel(request), context_of(request).world.guild))


async def edit_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_CHANNELS)
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
    context.gateway.channel(context, "CHANNEL_UPDATE", after, seen_before=before)


async def delete_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_CHANNELS)
    gone = await context.world.drop_channel(channel.id)
    await asyncio.get_running_loop().run_in_executor(None, context.files.remove, gone)
    context.gateway.channel(context, "CHANNEL_DELETE", channel)
    for child in [each for each in context.world.channels.values() if each.parent_id == channel.id]:
        await change(context, child, replace(child, parent_id=None))
    return json_answer(payloads.channel(channel, context.world.guild))


async def put_permission(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_ROLES)
    body = {**await read_json(request), "id": str(path_id(request, "overwrite_id"))}
    made = channels.overwrite(body, context.world.permissions(caller(request), channel))
    others = tuple(each for each in channel.overwrites if each.id != made.id)
    await change(context, channel, replace(channel, overwrites=(*others, made)))
    return web.Response(status=204)


async def delete_permission(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, MANAGE_ROLES)
    overwrite_id = path_id(request, "overwrite_id")
    others = tuple(each for each in channel.overwrites if each.id != overwrite_id)
    if len(others) == len(channel.overwrites):
        raise errors.ApiError(404, 10009, "Unknown Overwrite")
    await change(context, channel, replace(channel, overwrites=others))
    return web.Response(status=204)


async def typing(request: web.Request) -> web.Response:
    _channel(request, SEND_MESSAGES)
    return web.Response(status=204)


async def archived_threads(request: web.Request) -> web.Response:
    """No channel has threads yet; the answer is that of a channel without any."""
    _channel(request)
    return json_answer({"threads": [], "members": [], "has_more": False})
