"""The routes of pins, new and deprecated. Threading: event loop only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from . import errors, gateway, messages, posting
from .clock import iso
from .context import Context, caller, context_of
from .database import NO_END
from .errors import json_answer
from .model import Channel, Message, User
from .params import limit_param, path_id, time_param
from .permissions import PIN_MESSAGES, READ_MESSAGE_HISTORY
from .routes_messages import find

_MOST_PINS = 250
_MOST_OLD_PAGE = 50  # the deprecated route shows no more, and has no pages


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


async def list_pins(request: web.Request) -> web.Response:
    limit = limit_param(request, default=50, most=50)
    pinned = await _pinned(request, time_param(request, "before", NO_END), limit + 1)
    items = [
        {"pinned_at": iso(each.pinned_ms or 0), "message": _json(request, each)} for each in pinned[:limit]
    ]
    return json_answer({"items": items, "has_more": len(pinned) > limit})


async def list_old_pins(request: web.Request) -> web.Response:
    return json_answer([_json(request, each) for each in await _pinned(request, NO_END, _MOST_OLD_PAGE)])


async def _pinned(request: web.Request, before_ms: int, limit: int) -> list[Message]:
    context, channel = context_of(request), _channel(request)
    if not context.world.permissions(caller(request), channel) & READ_MESSAGE_HISTORY:
        return []
    return await context.store.run(lambda database: database.pins(channel.id, before_ms, limit))


def _json(request: web.Request, message: Message) -> dict[str, Any]:
    return messages.as_json(context_of(request), message, caller(request))


async def pin(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, PIN_MESSAGES)
    message = await find(request, channel)
    if message.pinned_ms is not None:
        return web.Response(status=204)
    if await context.store.run(lambda database: database.count_pins(channel.id)) >= _MOST_PINS:
        raise errors.ApiError(400, 30003, f"Maximum number of pins reached for the channel ({_MOST_PINS})")
    await pin_now(context, caller(request), channel, message)
    return web.Response(status=204)


async def pin_now(context: Context, user: User, channel: Channel, message: Message) -> None:
    """Pins a message, and says so in the channel."""
    now = context.clock.now_ms()
    await posting.set_pin(context, message, now)
    await _told(context, channel, now)
    await posting.notice(context, user, channel, message)


async def unpin(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request, PIN_MESSAGES)
    message = await find(request, channel)
    if message.pinned_ms is not None:
        await posting.set_pin(context, message, None)
        await _told(context, channel, channel.last_pin_ms)
    return web.Response(status=204)


async def _told(context: Context, channel: Channel, last_pin_ms: int | None) -> None:
    """Remembers when something was pinned last, and tells the gateway."""
    changed = replace(context.world.find(channel.id) or channel, last_pin_ms=last_pin_ms)
    await context.world.put_channel(changed)
    gateway.tell_pins(context, changed)
