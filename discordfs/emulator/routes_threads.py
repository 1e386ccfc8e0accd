"""The routes of threads: starting them, their members, and the lists of active and archived ones.

Threading: event loop only.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from . import errors, gateway, messages, payloads, posting, threads
from .bodies import Form, read_form, read_json
from .context import Context, caller, context_of
from .database import NO_END, Database
from .drafts import draft
from .errors import ApiError, invalid_form, json_answer
from .files import discard
from .model import (
    ANNOUNCEMENT,
    ANNOUNCEMENT_THREAD,
    HAS_THREAD,
    POST_CHANNELS,
    PRIVATE_THREAD,
    PUBLIC_THREAD,
    THREAD_NOTICE,
    THREAD_STARTER,
    Channel,
    Message,
    User,
)
from .params import flag_param, limit_param, path_id, snowflake_param, time_param
from .permissions import (
    CREATE_PRIVATE_THREADS,
    CREATE_PUBLIC_THREADS,
    MANAGE_THREADS,
    READ_MESSAGE_HISTORY,
    SEND_MESSAGES,
)
from .routes_messages import find


def _channel(request: web.Request, *needed: int) -> Channel:
    return context_of(request).world.channel(caller(request), path_id(request, "channel_id"), *needed)


def _thread(request: web.Request) -> Channel:
    channel = _channel(request)
    if channel.thread is None:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")
    return channel


# --- starting


async def start(request: web.Request) -> web.Response:
    """Without a message; in a forum, with its first one."""
    context, parent = context_of(request), _channel(request)
    threads.check_parent(parent)
    if parent.kind in POST_CHANNELS:
        return await _post(request, parent)
    body = await read_json(request)
    kind = threads.kind_for(parent, body.get("type", PRIVATE_THREAD))
    _channel(request, CREATE_PRIVATE_THREADS if kind == PRIVATE_THREAD else CREATE_PUBLIC_THREADS)
    user = caller(request)
    thread = threads.new(context, parent, user, kind, body, context.ids.next())
    await threads.keep(context, thread)
    if kind != PRIVATE_THREAD:
        reference = {"type": 0, "channel_id": str(thread.id), "guild_id": str(context.world.guild.id)}
        extra = {"message_reference": reference}
        await posting.system(context, user, parent, THREAD_NOTICE, extra, thread.name)
    return json_answer(payloads.thread_for(thread, context.world.guild, user.id), status=201)


async def _post(request: web.Request, forum: Channel) -> web.Response:
    """A post: a thread and its first message, which have one id."""
    context, user = context_of(request), caller(request)
    _channel(request, SEND_MESSAGES)
    form = await read_form(request)
    try:
        nested = form.payload.get("message")
        if not isinstance(nested, dict):
            raise invalid_form("message", "BASE_TYPE_REQUIRED", "This field is required")
        checked = draft(Form(nested, form.files))
        if checked.empty:
            raise errors.empty_message()
        thread = threads.new(context, forum, user, PUBLIC_THREAD, form.payload, context.ids.next())
        await threads.keep(context, thread)
        first = await posting.create(context, user, thread, checked, message_id=thread.id)
    finally:
        discard(form.files.values())
    body = payloads.thread_for(context.world.threads[thread.id], context.world.guild, user.id)
    return json_answer(body | {"message": messages.as_json(context, first, user)}, status=201)


async def start_from_message(request: web.Request) -> web.Response:
    context, user = context_of(request), caller(request)
    parent = _channel(request, CREATE_PUBLIC_THREADS, READ_MESSAGE_HISTORY)
    threads.check_parent(parent)
    message = await find(request, parent)
    body = await read_json(request)
    if message.id in context.world.threads:
        raise ApiError(400, 160004, "A thread has already been created for this message")
    if message.kind not in (0, 19):
        raise ApiError(400, 50068, "Invalid message type")
    thread = await start_at(context, parent, user, message, body)
    return json_answer(payloads.thread_for(thread, context.world.guild, user.id), status=201)


async def start_at(
    context: Context, parent: Channel, user: User, message: Message, body: payloads.Json
) -> Channel:
    """The thread of a message, which then says that it has one."""
    kind = ANNOUNCEMENT_THREAD if parent.kind == ANNOUNCEMENT else PUBLIC_THREAD
    thread = threads.new(context, parent, user, kind, body, message.id)
    await threads.keep(context, thread)
    await _mark(context, message)
    reference = {"type": 0, "channel_id": str(parent.id), "message_id": str(message.id)}
    extra = {"message_reference": reference | {"guild_id": str(context.world.guild.id)}}
    await posting.system(context, user, thread, THREAD_STARTER, extra)
    return context.world.threads[thread.id]


async def _mark(context: Context, message: Message) -> None:
    """Puts the flag on a message that it has a thread."""

    def work(database: Database) -> Message:
        current = database.message(message.channel_id, message.id) or message
        marked = replace(current, flags=current.flags | HAS_THREAD)
        database.put_message(marked)
        return marked

    gateway.tell_message(context, "MESSAGE_UPDATE", await context.store.run(work))


# --- members


async def list_members(request: web.Request) -> web.Response:
    context, thread = context_of(request), _thread(request)
    if not caller(request).members:
        raise errors.missing_access()
    after, limit = snowflake_param(request, "after") or 0, limit_param(request, default=100, most=100)
    members = payloads.thread_members(thread)
    if not flag_param(request, "with_member"):
        return json_answer(members)
    page = [each for each in members if int(each["user_id"]) > after][:limit]
    return json_answer([_with_member(context, each) for each in page])


def _with_member(context: Context, member: payloads.Json) -> payloads.Json:
    user = context.world.users.get(int(member["user_id"]))
    return member | ({} if user is None or not user.member else {"member": payloads.member(user)})


async def get_member(request: web.Request) -> web.Response:
    context, thread, user_id = context_of(request), _thread(request), _user_id(request)
    member = next((e for e in payloads.thread_members(thread) if e["user_id"] == str(user_id)), None)
    if member is None:
        raise ApiError(404, 10007, "Unknown Member")
    with_member = flag_param(request, "with_member")
    return json_answer(_with_member(context, member) if with_member else member)


async def add_member(request: web.Request) -> web.Response:
    context, thread, user_id = context_of(request), _thread(request), _user_id(request)
    threads.check_open(thread)
    if user_id != caller(request).id:
        _channel(request, SEND_MESSAGES)
    user = context.world.users.get(user_id)
    if user is None or not user.member:
        raise ApiError(404, 10007, "Unknown Member")
    await threads.join(context, thread, user_id)
    return web.Response(status=204)


async def remove_member(request: web.Request) -> web.Response:
    context, thread, user_id = context_of(request), _thread(request), _user_id(request)
    threads.check_open(thread)
    owns = thread.thread is not None and thread.thread.owner_id == caller(request).id
    if user_id != caller(request).id and not (owns and thread.kind == PRIVATE_THREAD):
        _channel(request, MANAGE_THREADS)
    await threads.leave(context, thread, user_id)
    return web.Response(status=204)


def _user_id(request: web.Request) -> int:
    return caller(request).id if request.match_info["user_id"] == "@me" else path_id(request, "user_id")


# --- lists


def listing(context: Context, found: list[Channel], user_id: int, has_more: bool = False) -> web.Response:
    """A list of threads, and of them those that the caller is a member of."""
    members = [
        member
        for thread in found
        for member in payloads.thread_members(thread)
        if member["user_id"] == str(user_id)
    ]
    shown = [payloads.channel(each, context.world.guild) for each in found]
    return json_answer({"threads": shown, "members": members, "has_more": has_more})


async def archived_public(request: web.Request) -> web.Response:
    parent = _channel(request, READ_MESSAGE_HISTORY)
    return _archived(request, parent, frozenset({PUBLIC_THREAD, ANNOUNCEMENT_THREAD}))


async def archived_private(request: web.Request) -> web.Response:
    parent = _channel(request, READ_MESSAGE_HISTORY, MANAGE_THREADS)
    return _archived(request, parent, frozenset({PRIVATE_THREAD}))


def _archived(request: web.Request, parent: Channel, kinds: frozenset[int]) -> web.Response:
    """Those archived before a time, the latest archived first."""
    before = time_param(request, "before", NO_END)
    found = [each for each in _of(request, parent, kinds) if _archived_ms(each) < before]
    return _page(request, sorted(found, key=lambda each: -_archived_ms(each)))


async def archived_joined(request: web.Request) -> web.Response:
    """The private ones that the caller is in, before an id, the newest first."""
    parent, before = _channel(request, READ_MESSAGE_HISTORY), snowflake_param(request, "before")
    joined = [
        each
        for each in _of(request, parent, frozenset({PRIVATE_THREAD}))
        if each.thread is not None and each.thread.has(caller(request).id)
    ]
    found = [each for each in joined if each.id < (NO_END if before is None else before)]
    return _page(request, sorted(found, key=lambda each: -each.id))


def _of(request: web.Request, parent: Channel, kinds: frozenset[int]) -> list[Channel]:
    """The archived threads of a channel."""
    threads.check_parent(parent)
    return [
        each
        for each in context_of(request).world.threads.values()
        if each.parent_id == parent.id
        and each.kind in kinds
        and each.thread is not None
        and each.thread.archived
    ]


def _archived_ms(thread: Channel) -> int:
    return 0 if thread.thread is None else thread.thread.archived_ms


def _page(request: web.Request, found: list[Channel]) -> web.Response:
    limit = limit_param(request, default=50, most=100, least=2)
    has_more = len(found) > limit
    return listing(context_of(request), found[:limit], caller(request).id, has_more)
