"""The routes of polls: who voted for an answer, voting (people only), ending one's own poll.

A poll whose time is over takes no votes; the message with its results comes when somebody ends it, as
nothing happens here by itself. Threading: event loop only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from aiohttp import web

from . import gateway, messages, payloads, polls, posting
from .bodies import read_json
from .context import Context, caller, context_of
from .database import Database
from .errors import ApiError, invalid_form, json_answer
from .model import POLL_RESULT, Channel, Message, User
from .params import limit_param, path_id, snowflake_param
from .permissions import READ_MESSAGE_HISTORY
from .routes_messages import find
from .sessions import GUILD_MESSAGE_POLLS


async def _found(request: web.Request) -> tuple[Channel, Message, dict[str, Any]]:
    """The channel, the message and its poll; ApiError if it has none."""
    world = context_of(request).world
    channel = world.channel(caller(request), path_id(request, "channel_id"), READ_MESSAGE_HISTORY)
    message = await find(request, channel)
    poll: Any = message.extra.get("poll")
    if poll is None:
        raise ApiError(404, 10008, "Unknown Message")
    return channel, message, poll


async def voters(request: web.Request) -> web.Response:
    """Who voted for an answer, by id, page by page."""
    world = context_of(request).world
    _, message, poll = await _found(request)
    answer = path_id(request, "answer_id")
    if answer not in polls.answer_ids(poll):
        raise ApiError(404, 10102, "Unknown Poll Answer")
    after, limit = snowflake_param(request, "after") or 0, limit_param(request, default=25, most=100)
    ids = [each for each in sorted(message.votes.get(answer, ())) if each > after][:limit]
    return json_answer({"users": [payloads.user(world.users[each]) for each in ids]})


async def vote(request: web.Request) -> web.Response:
    """PUT …/answers/@me with `answer_ids`, as people's clients do; an empty list takes the vote back."""
    context, user = context_of(request), caller(request)
    if user.bot:
        raise ApiError(403, 20001, "Bots cannot use this endpoint")
    channel, message, poll = await _found(request)
    polls.open_for(poll, context.clock.now_ms())
    wanted = (await read_json(request)).get("answer_ids")
    known = {str(each) for each in polls.answer_ids(poll)}
    if not isinstance(wanted, list) or not {str(each) for each in wanted} <= known:
        raise invalid_form("answer_ids", "BASE_TYPE_CHOICES", "Value must be answers of the poll.")
    chosen = {int(str(each)) for each in wanted}
    if len(chosen) > 1 and not poll["allow_multiselect"]:
        raise invalid_form("answer_ids", "BASE_TYPE_BAD_LENGTH", "Must be 1 in length.")
    await cast(context, channel, message, user, chosen)
    return web.Response(status=204)


async def cast(
    context: Context, channel: Channel, message: Message, user: User, chosen: Iterable[int]
) -> None:
    """Sets what a user votes for, and tells of what changed."""
    before = {answer for answer, users in message.votes.items() if user.id in users}
    after = set(chosen)
    await context.store.run(lambda database: database.set_votes(message.id, user.id, after))
    data = gateway.base(context, channel) | {"message_id": str(message.id), "user_id": str(user.id)}
    for name, answers in (("REMOVE", before - after), ("ADD", after - before)):
        for answer in sorted(answers):
            event = data | {"answer_id": answer}
            gateway.tell(context, f"MESSAGE_POLL_VOTE_{name}", channel, GUILD_MESSAGE_POLLS, event)


async def expire(request: web.Request) -> web.Response:
    """Ends a poll of one's own."""
    context = context_of(request)
    channel, message, poll = await _found(request)
    if message.author_id != caller(request).id:
        raise ApiError(403, 50005, "Cannot edit a message authored by another user")
    if poll["finalized"]:
        raise ApiError(400, 520001, "Poll expired")
    ended = await end(context, caller(request), channel, message)
    return json_answer(messages.as_json(context, ended, caller(request)))


async def end(context: Context, author: User, channel: Channel, message: Message) -> Message:
    """Ends a poll now, and posts the message with its results."""
    now = context.clock.now_ms()

    def work(database: Database) -> Message:
        current = database.message(channel.id, message.id) or message
        poll: Any = current.extra["poll"]
        ended = poll | {"finalized": True, "expires_ms": min(now, poll["expires_ms"])}
        current = replace(current, extra={**current.extra, "poll": ended})
        database.put_message(current)
        return current

    ended = await context.store.run(work)
    gateway.tell_message(context, "MESSAGE_UPDATE", ended)
    poll: Any = ended.extra["poll"]
    reference = gateway.base(context, channel) | {"type": 0, "message_id": str(message.id)}
    extra = {"embeds": [polls.result_embed(poll, ended.votes)], "message_reference": reference}
    await posting.system(context, author, channel, POLL_RESULT, extra)
    return ended
