"""Threads: made, changed, entered, archived (Discord's documents, "Threads").

A thread never archives itself here. No two threads of a channel are archived in the same millisecond, so
that a page of the archived ones has a clear end. Threading: event loop only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import gateway, payloads
from .context import Context
from .errors import ApiError, invalid_form, missing_permissions
from .model import (
    ANNOUNCEMENT,
    ANNOUNCEMENT_THREAD,
    POST_CHANNELS,
    PRIVATE_THREAD,
    PUBLIC_THREAD,
    THREAD_PARENTS,
    Channel,
    Thread,
    User,
)
from .permissions import MANAGE_THREADS
from .sessions import GUILD_MEMBERS, GUILDS

Json = dict[str, Any]
_MOST_NAME = 100
_MOST_TAGS = 5
_DURATION = 4320
_DURATIONS = (60, 1440, 4320, 10080)


def check_parent(channel: Channel) -> None:
    """ApiError if this kind of channel has no threads."""
    if channel.kind not in THREAD_PARENTS:
        raise ApiError(400, 50024, "Cannot execute action on this channel type")


def check_open(channel: Channel) -> None:
    """ApiError if the channel is an archived thread, in which nothing but posting changes anything."""
    if channel.thread is not None and channel.thread.archived:
        raise ApiError(400, 50083, "Thread is archived")


def kind_for(parent: Channel, asked: object = None) -> int:
    """The kind of a thread in this channel. Without a message, one is private unless said otherwise."""
    if parent.kind in POST_CHANNELS:
        return PUBLIC_THREAD
    fits = {ANNOUNCEMENT_THREAD} if parent.kind == ANNOUNCEMENT else {PUBLIC_THREAD, PRIVATE_THREAD}
    if asked not in fits:
        raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {sorted(fits)}.")
    return int(str(asked))


def new(
    context: Context, parent: Channel, owner: User, kind: int, body: Mapping[str, Any], id_: int
) -> Channel:
    """A thread as asked for, not kept yet; its owner is its first member."""
    now = context.clock.now_ms()
    facts = Thread(
        owner_id=owner.id,
        created_ms=now,
        archived_ms=_moment(context, parent.id, now),
        auto_archive=_duration(body.get("auto_archive_duration") or _DURATION),
        invitable=body.get("invitable") is not False,
        tag_ids=_tags(body.get("applied_tags"), parent),
        members=((owner.id, now),),
    )
    blank = Channel(id_, kind, _name(body.get("name")), parent_id=parent.id, thread=facts)
    return replace(blank, rate_limit_per_user=_slow(body.get("rate_limit_per_user") or 0))


async def keep(context: Context, thread: Channel) -> None:
    """Keeps a new thread and tells of it."""
    await context.world.put_channel(thread)
    tell(context, "THREAD_CREATE", thread, newly_created=True)


def changed(context: Context, user: User, thread: Channel, body: Mapping[str, Any], facts: Thread) -> Channel:
    """The thread after these changes; ApiError if `user` may not make them."""
    manages = bool(context.world.permissions(user, thread) & MANAGE_THREADS)
    owns = facts.owner_id == user.id
    wants_out = body.get("archived") is False  # any member may wake a thread that is not locked
    if not manages and (not (owns or wants_out) or "locked" in body or facts.locked):
        raise missing_permissions()
    if facts.archived and not wants_out and set(body) - {"archived", "locked"}:
        raise ApiError(400, 50083, "Thread is archived")
    parent = context.world.channels[thread.parent_id or 0]
    values: dict[str, Any] = {}
    for key in ("archived", "locked", "invitable"):
        if isinstance(body.get(key), bool):
            values[key] = body[key]
    if "auto_archive_duration" in body:
        values["auto_archive"] = _duration(body["auto_archive_duration"])
    if "applied_tags" in body:
        values["tag_ids"] = _tags(body["applied_tags"], parent)
    if values.get("archived", facts.archived) != facts.archived:
        values["archived_ms"] = _moment(context, parent.id, context.clock.now_ms())
    name = _name(body["name"]) if "name" in body else thread.name
    slow = _slow(body["rate_limit_per_user"]) if "rate_limit_per_user" in body else thread.rate_limit_per_user
    return replace(thread, name=name, rate_limit_per_user=slow, thread=replace(facts, **values))


async def change(context: Context, thread: Channel) -> None:
    """Keeps a changed thread and tells of it."""
    await context.world.put_channel(thread)
    tell(context, "THREAD_UPDATE", thread)


async def enter(context: Context, user: User, channel: Channel) -> None:
    """Before somebody posts into a thread: it wakes up, unless it is locked, and they become a member."""
    facts = channel.thread
    if facts is None:
        return
    manages = context.world.permissions(user, channel) & MANAGE_THREADS
    if facts.locked and not manages:
        raise ApiError(403, 160005, "This thread is locked")
    if facts.archived:
        moment = _moment(context, channel.parent_id or 0, context.clock.now_ms())
        await change(context, replace(channel, thread=replace(facts, archived=False, archived_ms=moment)))
    if user.id in context.world.users:
        await join(context, context.world.threads[channel.id], user.id)


async def join(context: Context, thread: Channel, user_id: int) -> None:
    """Makes a user a member of a thread, once."""
    facts = thread.thread
    if facts is None or facts.has(user_id):
        return
    members = (*facts.members, (user_id, context.clock.now_ms()))
    await context.world.put_channel(replace(thread, thread=replace(facts, members=members)))
    if thread.kind == PRIVATE_THREAD:
        data = payloads.channel(context.world.threads[thread.id], context.world.guild)
        context.sessions.tell_user(user_id, "THREAD_CREATE", data)
    _tell_members(context, thread.id, added=user_id)


async def leave(context: Context, thread: Channel, user_id: int) -> None:
    """Takes a user out of a thread."""
    facts = thread.thread
    if facts is None or not facts.has(user_id):
        return
    members = tuple(each for each in facts.members if each[0] != user_id)
    await context.world.put_channel(replace(thread, thread=replace(facts, members=members)))
    _tell_members(context, thread.id, removed=user_id)


def tell(context: Context, name: str, thread: Channel, newly_created: bool = False) -> None:
    """THREAD_CREATE, THREAD_UPDATE or THREAD_DELETE to those who see it."""
    data = payloads.channel(thread, context.world.guild)
    if newly_created:
        data |= {"newly_created": True}
    if name == "THREAD_DELETE":
        data = {key: data[key] for key in ("id", "guild_id", "parent_id", "type")}
    gateway.tell(context, name, thread, GUILDS, data)


def _tell_members(context: Context, thread_id: int, added: int = 0, removed: int = 0) -> None:
    """THREAD_MEMBERS_UPDATE, to those with the intent for members, and to whom it is about."""
    thread = context.world.threads[thread_id]
    members = payloads.thread_members(thread)
    data = {
        "id": str(thread_id),
        "guild_id": str(context.world.guild.id),
        "member_count": len(members),
        "added_members": [each for each in members if each["user_id"] == str(added)],
        "removed_member_ids": [str(removed)] if removed else [],
    }
    gateway.tell(context, "THREAD_MEMBERS_UPDATE", thread, GUILD_MEMBERS, data)
    context.sessions.tell_user(added or removed, "THREAD_MEMBERS_UPDATE", data, without=GUILD_MEMBERS)


def _moment(context: Context, parent_id: int, now: int) -> int:
    """The time of archiving: later than that of every other thread of the channel that has one so late."""
    taken = {
        each.thread.archived_ms
        for each in context.world.threads.values()
        if each.parent_id == parent_id and each.thread is not None
    }
    while now in taken:
        now += 1
    return now


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= _MOST_NAME:
        raise invalid_form("name", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {_MOST_NAME} in length.")
    return value.strip()


def _duration(value: object) -> int:
    if value not in _DURATIONS:
        path = "auto_archive_duration"
        raise invalid_form(path, "BASE_TYPE_CHOICES", f"Value must be one of {_DURATIONS}.")
    return int(str(value))


def _slow(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 21600:
        raise invalid_form("rate_limit_per_user", "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
    return value


def _tags(value: object, parent: Channel) -> tuple[int, ...]:
    if value is None:
        return ()
    known = {str(each.id): each.id for each in parent.tags}
    if (
        not isinstance(value, list)
        or len(value) > _MOST_TAGS
        or not {str(each) for each in value} <= set(known)
    ):
        raise invalid_form("applied_tags", "BASE_TYPE_CHOICES", "Value must be tags of the channel.")
    return tuple(known[str(each)] for each in value)
