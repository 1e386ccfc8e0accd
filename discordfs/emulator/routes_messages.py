"""The routes of messages: create, get, list, edit, delete, bulk delete. Threading: event loop only."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from . import errors, forwards, messages, posting, snowflake, threads
from .bodies import Form, read_form, read_json
from .context import Context, caller, context_of
from .database import NO_END, Page
from .drafts import Addition, Draft, draft
from .errors import ApiError, invalid_form, json_answer
from .files import discard
from .model import PRIVATE, Channel, Message
from .params import limit_param, path_id, snowflake_param
from .permissions import ATTACH_FILES, MANAGE_MESSAGES, READ_MESSAGE_HISTORY, SEND_MESSAGES, SEND_POLLS

_BULK_LEAST, _BULK_MOST = 2, 100


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


async def find(request: web.Request, channel: Channel) -> Message:
    """The message that the path names; ApiError 404 if there is none."""
    context, message_id = context_of(request), path_id(request, "message_id")
    message = await context.store.run(lambda database: database.message(channel.id, message_id))
    if message is None:
        raise errors.unknown_message()
    return message


async def create_message(request: web.Request) -> web.Response:
    context = context_of(request)
    context.stats.upload_begins()
    try:
        channel = _channel(request, SEND_MESSAGES)
        form = await read_form(request)
        try:
            return await _created(context, request, channel, form)
        finally:
            discard(form.files.values())  # those of a committed message have moved away
    finally:
        context.stats.upload_ends()


async def _created(context: Context, request: web.Request, channel: Channel, form: Form) -> web.Response:
    checked = draft(form)
    if checked.files:
        _channel(request, ATTACH_FILES)
    if checked.poll is not None:
        _channel(request, SEND_POLLS)
    addition = await _referenced(context, request, channel, checked)
    await threads.enter(context, caller(request), channel)
    message = await posting.create(context, caller(request), channel, checked, addition)
    body = messages.as_json(context, message, caller(request))
    return json_answer(body if checked.nonce is None else body | {"nonce": form.payload["nonce"]})


async def _referenced(context: Context, request: web.Request, channel: Channel, checked: Draft) -> Addition:
    """What a forward takes along; of a reply, that its target is there."""
    if checked.forwards:
        return await forwards.prepared(context, caller(request), checked.reference)
    if checked.reference:
        target = int(str(checked.reference["message_id"]))
        found = await context.store.run(lambda database: database.message(channel.id, target))
        if found is None and checked.reference.get("fail_if_not_exists", True):
            raise invalid_form("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
    return Addition()


async def get_message(request: web.Request) -> web.Response:
    channel = _channel(request)
    if not context_of(request).world.permissions(caller(request), channel) & READ_MESSAGE_HISTORY:
        raise errors.missing_access()
    message = await find(request, channel)
    return json_answer(messages.as_json(context_of(request), message, caller(request)))


async def list_messages(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    cursors = {key: snowflake_param(request, key) for key in ("before", "after", "around")}
    limit = limit_param(request, default=50, most=100)
    if sum(cursor is not None for cursor in cursors.values()) > 1:
        raise invalid_form("_", "BASE_TYPE_EXCLUSIVE", "before, after and around exclude one another")
    if not context.world.permissions(caller(request), channel) & READ_MESSAGE_HISTORY:
        return json_answer([])
    found = await _listed(context, channel, cursors, limit)
    return json_answer([messages.as_json(context, each, caller(request)) for each in found])


async def _listed(
    context: Context, channel: Channel, cursors: dict[str, int | None], limit: int
) -> list[Message]:
    before, after, around = cursors["before"], cursors["after"], cursors["around"]
    end = _visible_end(context)
    if around is not None:
        half = limit // 2
        newer = Page(half, before=end, after=around, oldest=True)
        older = Page(limit - half, before=min(end, around + 1))
        return [*await _page(context, channel, newer), *await _page(context, channel, older)]
    if before is not None:
        return await _page(context, channel, Page(limit, before=min(before, end)))
    if after is not None:
        return await _page(context, channel, Page(limit, before=end, after=after, oldest=True))
    return await _page(context, channel, Page(limit, before=end))


async def _page(context: Context, channel: Channel, page: Page) -> list[Message]:
    return await context.store.run(lambda database: database.page(channel.id, page))


def _visible_end(context: Context) -> int:
    """Messages from this id on are too young to be listed yet."""
    lag = context.settings.list_lag_ms * context.clock.scale
    return NO_END if not lag else snowflake.first_of(int(context.clock.now_ms() - lag))


async def edit_message(request: web.Request) -> web.Response:
    context, channel = context_of(request), _channel(request)
    message = await find(request, channel)
    if message.author_id != caller(request).id:
        raise ApiError(403, 50005, "Cannot edit a message authored by another user")
    threads.check_open(channel)
    form = await read_form(request)
    try:
        if form.payload.get("content", "") is None:
            form.payload["content"] = ""  # null clears the text; left out, it stays
        checked = draft(form, frozenset(each.id for each in message.attachments))
        changed = await posting.edit(context, message, checked)
    finally:
        discard(form.files.values())
    return json_answer(messages.as_json(context, changed, caller(request)))


async def delete_message(request: web.Request) -> web.Response:
    channel = _channel(request)
    message = await find(request, channel)
    if message.author_id != caller(request).id:
        _channel(request, MANAGE_MESSAGES)
    await posting.delete(context_of(request), channel, [message.id])
    return web.Response(status=204)


async def bulk_delete(request: web.Request) -> web.Response:
    context = context_of(request)
    if not caller(request).bot:
        raise ApiError(403, 20002, "Only bots can use this endpoint")
    channel = _channel(request, MANAGE_MESSAGES)
    if channel.kind in PRIVATE:
        raise ApiError(403, 50003, "Cannot execute action on a DM channel")
    wanted = _bulk_ids((await read_json(request)).get("messages"))
    oldest = context.clock.now_ms() - int(context.settings.bulk_delete_days * 86_400_000)
    if any(snowflake.time_of(each) < oldest for each in wanted):
        raise ApiError(400, 50034, "You can only bulk delete messages that are under 14 days old.")
    await posting.delete(context, channel, wanted)
    return web.Response(status=204)


def _bulk_ids(value: object) -> list[int]:
    if not isinstance(value, list) or not all(str(each).isdigit() for each in value):
        raise invalid_form("messages", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if not _BULK_LEAST <= len(value) <= _BULK_MOST:
        message = f"Must be between {_BULK_LEAST} and {_BULK_MOST} in length."
        raise invalid_form("messages", "BASE_TYPE_BAD_LENGTH", message)
    return _unique(int(each) for each in value)


def _unique(ids: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(ids))
