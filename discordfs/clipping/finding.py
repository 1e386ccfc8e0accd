"""Which attachments of a message are clips.

A clip is a file of a wanted extension, or one that Discord says is such a video and whose own extension says
nothing else: so `x.mp4.zip` is none. Files of forwarded messages count too; their poster is whoever forwarded
them, as Discord does not say who wrote the first one, and so the predecessor's Id is made of that person.
Threading: pure.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from discordfs.archived.people import author, author_id, is_empty, snapshots, text, things, user_name
from discordfs.archived.records import epoch_ns, whole_number
from discordfs.clipping.catalogue import Found
from discordfs.clipping.model import Clip, Place, Poster
from discordfs.clipping.record import alias_of, expiry_of
from discordfs.clipping.wording import Known, clean_text
from discordfs.errors import UsageError
from discordfs.remote.base import snowflake_ns

Json = Mapping[str, Any]

TYPES = ("mp4",)
"""What the predecessor took."""

_CONTENT = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "mkv": "video/x-matroska"}
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,16})$")
_UNSPECIFIC = "application/octet-stream"

LATEST_S = 1 << 32
"""A link that ends later is none of Discord's; SQLite has room for it."""

_PLAIN = frozenset({0, 19, 20, 23})
"""Kinds of messages that people and applications write."""

_MAY_BE_EMPTY = 1 << 2 | 1 << 7
"""Flags: embeds suppressed, an answer still to come."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """Wanted extensions, in lower case and without a dot, and the content types that go with them."""

    extensions: frozenset[str]
    contents: frozenset[str]


def kinds_of(names: str) -> Kinds:
    """Of "mp4,mov,webm,mkv". Raises UsageError."""
    extensions = [part.strip().lower().removeprefix(".") for part in names.split(",") if part.strip()]
    for each in extensions:
        if not _EXTENSION.fullmatch(f".{each}"):
            raise UsageError(f"--types {names!r}: {each!r} is no extension; write some like mp4,mov,webm,mkv")
    if not extensions:
        raise UsageError("--types names no extension: write some like mp4,mov,webm,mkv")
    contents = {_CONTENT.get(each) or mimetypes.guess_type(f"x.{each}")[0] for each in extensions}
    return Kinds(frozenset(extensions), frozenset(each for each in contents if each))


def is_clip(attachment: Json, kinds: Kinds) -> bool:
    """By its name and by what Discord says of it."""
    name = text(attachment, "filename")
    extension = _EXTENSION.search(name)
    if extension and extension[1].lower() in kinds.extensions:
        return True
    content = text(attachment, "content_type").partition(";")[0].strip().lower()
    said = mimetypes.guess_type(name)[0] or _UNSPECIFIC
    return content in kinds.contents and (said == _UNSPECIFIC or said.startswith("video/"))


def clips_in(message: Json, place: Place, kinds: Kinds, known: Known) -> list[Found]:
    """The clips of a message as Discord tells it, over HTTP or the gateway, in `place`."""
    number, poster = whole_number(message.get("id")), poster_of(author(message))
    if not number or not poster.id:
        return []
    found = []
    for body, attachment in _attachments(message):
        id_ = whole_number(attachment.get("id"))
        if id_ and is_clip(attachment, kinds):
            described = clean_text(message, known) or clean_text(body, known)
            clip = _clip(message, body, attachment, (id_, number, place.channel, poster.id), described)
            found.append(Found(clip, poster, place))
    return found


def attachment_ids(message: Json) -> frozenset[int]:
    """Of all files in a message, forwarded ones too."""
    return frozenset(whole_number(each.get("id")) or 0 for _, each in _attachments(message))


def poster_of(user: Json) -> Poster:
    """Id 0 of nobody."""
    return Poster(
        whole_number(user.get("id")) or 0, text(user, "username"), user_name(user), text(user, "avatar")
    )


def came_empty(message: Json, me: int) -> bool | None:
    """Whether somebody else's message came without anything in it; None of one that tells nothing of
    MESSAGE_CONTENT."""
    flags = whole_number(message.get("flags")) or 0
    if message.get("type", 0) not in _PLAIN or author_id(message) == me or flags & _MAY_BE_EMPTY:
        return None
    return is_empty(message)


def edited_at(message: Json) -> int:
    """Epoch ns; 0: never."""
    return epoch_ns(message.get("edited_timestamp"))


def _attachments(message: Json) -> Iterator[tuple[Json, Json]]:
    """(the message that it stands in, attachment)."""
    for body in (message, *snapshots(message)):
        for each in things(body, "attachments"):
            yield body, each


def _clip(
    message: Json, body: Json, attachment: Json, ids: tuple[int, int, int, int], described: str
) -> Clip:
    """`ids`: attachment, message, channel, poster. `body`: the message that the attachment stands in."""
    id_, number, channel, poster = ids
    url = text(attachment, "url")
    return Clip(
        id=id_,
        alias=alias_of(poster, number, url),
        message=number,
        channel=channel,
        poster=poster,
        posted_ns=snowflake_ns(number),
        filename=text(attachment, "filename") or str(id_),
        content_type=text(attachment, "content_type"),
        size=whole_number(attachment.get("size")) or 0,
        url=url,
        expires_ns=min(expiry_of(url) or 0, LATEST_S) * 1_000_000_000,
        description=described,
        is_forwarded=body is not message,
        edited_ns=edited_at(message),
    )
