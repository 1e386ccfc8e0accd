"""The routes of webhooks: listing and making them, and posting as one. Threading: event loop only.

Whoever has a webhook's token needs no other: the pipeline lets them in as a user of the webhook's id.
"""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import web

from . import errors, gateway, messages, payloads, payloads_things, posting, threads
from .bodies import Form, read_form, read_json
from .context import Context, caller, context_of
from .drafts import Addition, draft
from .errors import ApiError, invalid_form, json_answer
from .files import discard
from .model import MESSAGE_CHANNELS, POST_CHANNELS, PRIVATE, PUBLIC_THREAD, THREADS, Channel, User, Webhook
from .params import flag_param, path_id, snowflake_param
from .permissions import MANAGE_WEBHOOKS
from .routes_guild import guild_of
from .sessions import GUILD_WEBHOOKS

_MOST_NAME = 80
_MOST = 15  # webhooks of a channel


def _json(context: Context, one: Webhook, by_token: bool = False) -> payloads.Json:
    return payloads_things.webhook(one, context.world, context.base_url, by_token)


def _channel(request: web.Request) -> Channel:
    world = context_of(request).world
    channel = world.channel(caller(request), path_id(request, "channel_id"), MANAGE_WEBHOOKS)
    if channel.kind not in (MESSAGE_CHANNELS | POST_CHANNELS) - THREADS - PRIVATE:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    return channel


async def list_of_channel(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    own = [each for each in context.world.webhooks if each.channel_id == channel.id]
    return json_answer([_json(context, each) for each in own])


async def list_of_guild(request: web.Request) -> web.Response:
    context = guild_of(request)
    if not context.world.guild_permissions(caller(request)) & MANAGE_WEBHOOKS:
        raise errors.missing_permissions()
    return json_answer([_json(context, each) for each in context.world.webhooks])


async def create(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    name = str((await read_json(request)).get("name", "")).strip()
    if not 1 <= len(name) <= _MOST_NAME or "clyde" in name.lower() or "discord" in name.lower():
        raise invalid_form("name", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {_MOST_NAME} in length.")
    if sum(each.channel_id == channel.id for each in context.world.webhooks) >= _MOST:
        raise ApiError(400, 30007, f"Maximum number of webhooks reached ({_MOST})")
    made = Webhook(context.ids.next(), channel.id, name, caller(request).id, secrets.token_urlsafe(51))
    await context.world.webhooks.put(made)
    _tell(context, channel)
    return json_answer(_json(context, made))


def _tell(context: Context, channel: Channel) -> None:
    data = {"guild_id": str(context.world.guild.id), "channel_id": str(channel.id)}
    gateway.tell(context, "WEBHOOKS_UPDATE", channel, GUILD_WEBHOOKS, data)


def _named(request: web.Request) -> Webhook:
    webhook = context_of(request).world.webhooks.get(path_id(request, "webhook_id"))
    if webhook is None:
        raise unknown()
    return webhook


def unknown() -> ApiError:
    return ApiError(404, 10015, "Unknown Webhook")


async def get(request: web.Request) -> web.Response:
    context, webhook = context_of(request), _named(request)
    context.world.channel(caller(request), webhook.channel_id, MANAGE_WEBHOOKS)
    return json_answer(_json(context, webhook))


async def delete(request: web.Request) -> web.Response:
    context, webhook = context_of(request), _named(request)
    channel = context.world.channel(caller(request), webhook.channel_id, MANAGE_WEBHOOKS)
    await context.world.webhooks.drop(webhook)
    _tell(context, channel)
    return web.Response(status=204)


async def get_by_token(request: web.Request) -> web.Response:
    return json_answer(_json(context_of(request), _named(request), by_token=True))


def let_in(context: Context, webhook_id: str, token: str) -> User:
    """Who posts with this token; ApiError if the webhook is unknown or the token is not its own."""
    webhook = context.world.webhooks.get(webhook_id)
    if webhook is None:
        raise unknown()
    if not webhook.token or not secrets.compare_digest(webhook.token.encode(), token.encode()):
        raise ApiError(401, 50027, "Invalid Webhook Token")
    return User(webhook.id, webhook.name, "", avatar=webhook.avatar)


async def execute(request: web.Request) -> web.Response:
    """Posts; the answer is the message with `?wait=true`, else nothing."""
    context, webhook, form = context_of(request), _named(request), await read_form(request)
    try:
        checked = draft(form)
        if checked.empty:
            raise errors.empty_message()
        addition = Addition(signed(caller(request), form.payload))
        channel, message_id = await _place(request, webhook, form)
        await threads.enter(context, caller(request), channel)
        message = await posting.create(context, caller(request), channel, checked, addition, message_id)
    finally:
        discard(form.files.values())
    if not flag_param(request, "wait"):
        return web.Response(status=204)
    return json_answer(messages.as_json(context, message, caller(request)))


def signed(hook: User, payload: dict[str, Any]) -> payloads.Json:
    """The author that a message says it has: the webhook, under any name."""
    name = payload.get("username")
    if name is not None and not 1 <= len(str(name)) <= _MOST_NAME:
        path = "username"
        raise invalid_form(path, "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {_MOST_NAME} in length.")
    author = payloads.user(hook) | ({} if name is None else {"username": str(name)})
    return {"webhook_id": str(hook.id), "author": author}


async def _place(request: web.Request, webhook: Webhook, form: Form) -> tuple[Channel, int | None]:
    """The channel to post in: the webhook's, a thread of it, or a new post of a forum and its id."""
    context, name = context_of(request), form.payload.get("thread_name")
    channel, thread_id = context.world.channels.get(webhook.channel_id), snowflake_param(request, "thread_id")
    if channel is None:
        raise unknown()
    if thread_id is not None:
        thread = context.world.threads.get(thread_id)
        if thread is None or thread.parent_id != channel.id:
            raise errors.unknown_channel()
        return thread, None
    if channel.kind not in POST_CHANNELS:
        return channel, None
    if name is None:
        raise ApiError(400, 220001, "Webhooks posted to forum channels must have a thread_name or thread_id")
    body = {"name": name, "applied_tags": form.payload.get("applied_tags")}
    thread = threads.new(context, channel, caller(request), PUBLIC_THREAD, body, context.ids.next())
    await threads.keep(context, thread)
    return thread, thread.id
