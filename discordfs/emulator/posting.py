"""Makes and changes messages: files to their places, rows to the store, events to the gateway, in this
order.

A message is committed whole or not at all, also when its sender has gone away meanwhile. Threading: event
loop; the commit itself is one piece of work in the store's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import errors, filenames, gateway, payloads_things, polls, snowflake
from .context import Context
from .database import Database
from .drafts import Addition, Draft, NewFile
from .files import discard
from .model import (
    HAS_SNAPSHOT,
    MESSAGE_CHANNELS,
    PIN_NOTICE,
    PRIVATE,
    REPLY,
    Attachment,
    Channel,
    Message,
    User,
)

_NOTHING = Addition()
_SUBSTANCE = ("embeds", "components", "sticker_items", "poll", "message_snapshots")


async def create(
    context: Context,
    author: User,
    channel: Channel,
    draft: Draft,
    addition: Addition = _NOTHING,
    message_id: int | None = None,
) -> Message:
    """Posts a message, or gives the one that has this author's nonce already.

    `message_id`: that of a post in a forum, which is its thread's too.
    """
    if channel.kind not in MESSAGE_CHANNELS:
        raise errors.ApiError(400, 50008, "Cannot send messages in a non-text channel")
    if draft.empty:
        raise errors.empty_message()
    prepared = await _prepare(context, draft.files)
    await _held(context)
    if context.world.find(channel.id) is None:
        raise errors.unknown_channel()
    copies = [replace(each, forwarded=True) for each in addition.sources]
    attachments = [_numbered(context, each) for each in (*prepared, *copies)]
    message = Message(
        id=message_id or context.ids.next(),
        channel_id=channel.id,
        author_id=author.id,
        content=draft.content or "",
        kind=REPLY if draft.reference and not draft.forwards else 0,
        flags=draft.flags | (HAS_SNAPSHOT if draft.forwards else 0),
        tts=draft.tts,
        nonce=draft.nonce if draft.enforce_nonce else None,
        extra={**_extra(context, draft, channel), **addition.extra},
        attachments=tuple(attachments),
    )
    kept, new = await _commit_new(context, message, draft.files, addition)
    if new:
        context.world.note_message(kept)
        gateway.tell_message(context, "MESSAGE_CREATE", kept, nonce=draft.nonce)
    return kept


async def notice(context: Context, author: User, channel: Channel, pinned: Message) -> None:
    """Posts the system message that something was pinned."""
    reference = {"channel_id": str(channel.id), "message_id": str(pinned.id)}
    if channel.kind not in PRIVATE:
        reference |= {"guild_id": str(context.world.guild.id)}
    reference |= {"type": 0}  # type: ignore[dict-item]
    await system(context, author, channel, PIN_NOTICE, {"message_reference": reference})


async def system(
    context: Context,
    author: User,
    channel: Channel,
    kind: int,
    extra: Mapping[str, object] | None = None,
    content: str = "",
) -> Message:
    """Posts a message as Discord itself does, of any type."""
    message = Message(context.ids.next(), channel.id, author.id, content, kind=kind, extra=extra or {})
    kept = await context.store.run(lambda database: _put_new(database, message))
    context.world.note_message(kept)
    gateway.tell_message(context, "MESSAGE_CREATE", kept)
    return kept


def _put_new(database: Database, message: Message) -> Message:
    """Keeps a new message; the message with what it replies to."""
    database.put_message(message, new=True)
    return database.message(message.channel_id, message.id) or message


async def edit(context: Context, message: Message, draft: Draft) -> Message:
    """Changes a message; attachments it no longer has die. Edits at the same time do not undo each
    other.
    """
    added = [_numbered(context, each) for each in await _prepare(context, draft.files)]
    now = context.clock.now_ms()

    def work(database: Database) -> Message:
        current = _current(database, message)
        changed = _edited(current, draft, added, now)
        _keep_files(context, draft.files, added)
        database.put_message(changed)
        kept = {each.id for each in changed.attachments}
        context.files.remove(each.id for each in current.attachments if each.id not in kept)
        return changed

    changed = await context.store.run(work)
    gateway.tell_message(context, "MESSAGE_UPDATE", changed)
    return changed


def _current(database: Database, message: Message) -> Message:
    """The message as it is by now; ApiError 404 if it is gone."""
    current = database.message(message.channel_id, message.id)
    if current is None:
        raise errors.unknown_message()
    return current


def _edited(message: Message, draft: Draft, added: Sequence[Attachment], now_ms: int) -> Message:
    kept = [
        each
        for each in message.attachments
        if draft.retained is None or each.id in draft.retained or each.forwarded
    ]
    extra = dict(message.extra) | ({} if draft.embeds is None else {"embeds": list(draft.embeds)})
    if draft.components is not None:
        extra["components"] = list(draft.components)
    content = message.content if draft.content is None else draft.content
    if not (content or kept or added or any(extra.get(key) for key in _SUBSTANCE)):
        raise errors.empty_message()
    return replace(message, content=content, edited_ms=now_ms, attachments=(*kept, *added), extra=extra)


async def set_pin(context: Context, message: Message, pinned_ms: int | None) -> None:
    """Pins a message, or takes the pin away (None)."""

    def work(database: Database) -> Message:
        changed = replace(_current(database, message), pinned_ms=pinned_ms)
        database.put_message(changed)
        return changed

    gateway.tell_message(context, "MESSAGE_UPDATE", await context.store.run(work))


async def delete(context: Context, channel: Channel, ids: Sequence[int]) -> None:
    """Deletes those of these messages that are there, with their files."""

    def work(database: Database) -> list[Message]:
        asked = [database.message(channel.id, each) for each in ids]
        found = [each for each in asked if each is not None]
        database.delete_messages(found)
        context.files.remove(attachment.id for each in found for attachment in each.attachments)
        return found

    gone = await context.store.run(work)
    context.world.note_deleted(gone)
    gateway.tell_deleted(context, channel, [message.id for message in gone])


def _extra(context: Context, draft: Draft, channel: Channel) -> dict[str, object]:
    extra: dict[str, object] = {}
    if draft.embeds:
        extra["embeds"] = list(draft.embeds)
    if draft.components:
        extra["components"] = list(draft.components)
    if draft.sticker_ids:
        extra["sticker_items"] = [_sticker(context, each) for each in draft.sticker_ids]
    if draft.poll is not None:
        extra["poll"] = polls.begun(draft.poll, context.clock.now_ms())
    if draft.reference and not draft.forwards:
        reference = {
            "type": 0,
            "channel_id": str(channel.id),
            "message_id": str(draft.reference["message_id"]),
        }
        guild = {} if channel.kind in PRIVATE else {"guild_id": str(context.world.guild.id)}
        extra["message_reference"] = reference | guild
    return extra


def _sticker(context: Context, sticker_id: int) -> dict[str, object]:
    sticker = context.world.stickers.get(sticker_id)
    if sticker is None:
        raise errors.ApiError(400, 50081, "Invalid sticker sent")
    return payloads_things.sticker_item(sticker)


async def _prepare(context: Context, files: Sequence[NewFile]) -> list[Attachment]:
    """What the files will be stored as, images altered; ids come at the commit."""
    loop = asyncio.get_running_loop()
    alter = context.settings.alter_images
    return [await loop.run_in_executor(None, _prepared, each, alter) for each in files]


def _prepared(new: NewFile, alter: bool) -> Attachment:
    name = filenames.cleaned(new.filename)
    claimed = new.upload.content_type
    image = filenames.is_image(name, claimed)
    size = filenames.alter(new.upload.path) if image and alter else new.upload.size
    width, height = (filenames.dimensions(new.upload.path) if image else None) or (None, None)
    return Attachment(
        id=0,
        filename=name,
        size=size,
        content_type=filenames.content_type(name, claimed),
        description=new.description,
        title=filenames.title(new.filename),
        width=width,
        height=height,
    )


def _numbered(context: Context, attachment: Attachment) -> Attachment:
    return replace(attachment, id=context.ids.next())


async def _held(context: Context) -> None:
    """Waits while uploads are held back."""
    while context.settings.hold_uploads:
        await context.released.wait()
        if context.stopping.is_set():
            raise errors.plain(503, "Service Unavailable")


async def _commit_new(
    context: Context, message: Message, files: Sequence[NewFile], addition: Addition
) -> tuple[Message, bool]:
    """Keeps the message, unless its nonce is taken: then the message that has it, and False."""
    window_ms = int(context.settings.nonce_window * 1000)
    since = snowflake.first_of(context.clock.now_ms() - window_ms)
    added, copied = message.attachments[: len(files)], message.attachments[len(files) :]

    def work(database: Database) -> tuple[Message, bool]:
        if message.nonce is not None:
            known = database.message_by_nonce(message.author_id, message.nonce, since)
            if known is not None:
                return known, False
        _keep_files(context, files, added)
        for source, copy in zip(addition.sources, copied, strict=True):
            context.files.copy(source.id, copy.id)
        if message.kind != REPLY:
            database.put_message(message, new=True)
            return message, True
        return _put_new(database, message), True

    kept, new = await context.store.run(work)
    if not new:
        discard(each.upload for each in files)
    return kept, new


def _keep_files(context: Context, files: Sequence[NewFile], added: Sequence[Attachment]) -> None:
    for new, attachment in zip(files, added, strict=True):
        context.files.keep(new.upload.path, attachment.id)
