"""The predecessor's record of a clip, written exactly as it wrote it, and read back from whatever it left.

A record is a JSON object with the keys of KEYS in that order; Runtime only once it is known. `Discord_id` is
the message's id; in records read it may be the poster's too, and the link to the message tells which.
Limits: a record has at most MOST bytes. Errors: UsageError with what is wrong. Threading: pure.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from discordfs.archived.records import whole_number
from discordfs.clipping.model import Clip, Place, Poster
from discordfs.errors import UsageError
from discordfs.remote.base import snowflake_ns

KEYS = (
    *("Id", "Discord_id", "Poster", "Date", "Link_to_message", "Description", "Attachment_URL", "Filename"),
    *("channelId", "Expire_Timestamp", "Runtime"),
)
MOST = 1 << 20
"""Bytes; a real one has a few thousand at most."""

_CUT = ".mp4"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LINK = re.compile(r"https?://[\w.]*discord(?:app)?\.com/channels/(@me|\d{1,20})/(\d{1,20})/(\d{1,20})")
_END = re.compile(r"[?&]ex=([0-9a-fA-F]{1,16})(?:&|$)")
_ATTACHMENT = re.compile(r"/(?:ephemeral-)?attachments/(\d{1,20})/(\d{1,20})/")
_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True)
class Record:
    """A record, read. 0 and "" where it does not say; `attachment` 0: its URL names none. Times in epoch ns,
    `runtime` in seconds. `guild` 0: direct messages, or unknown."""

    alias: str
    message: int
    channel: int
    guild: int
    attachment: int
    poster: int
    poster_name: str
    posted_ns: int
    filename: str
    url: str
    description: str
    runtime: float | None


def alias_of(author: int, message: int, url: str) -> str:
    """The predecessor's `Id`: eight hex digits of who posted it when, and of the link without its
    signature. They collide: at 9,300 clips in one case of a hundred."""
    moment = _EPOCH + timedelta(milliseconds=snowflake_ns(message) // 1_000_000)
    named = f"{author}{moment}{url.rsplit('?ex=', 1)[0]}"
    return hashlib.md5(named.encode(), usedforsecurity=False).hexdigest()[:8]


def expiry_of(url: str) -> int | None:
    """When a link ends, epoch seconds; None of one that does not say."""
    found = _END.search(url)
    return int(found[1], 16) if found else None


def message_link(guild: int, channel: int, message: int) -> str:
    """As Discord's programs copy it."""
    return f"https://discord.com/channels/{guild or '@me'}/{channel}/{message}"


def record_of(clip: Clip, poster: Poster, place: Place) -> dict[str, Any]:
    """A clip as the predecessor kept it."""
    record: dict[str, Any] = {
        "Id": clip.alias,
        "Discord_id": str(clip.message),
        "Poster": poster.name,
        "Date": clip.posted_ns // 1_000_000 / 1000,
        "Link_to_message": message_link(place.guild, clip.channel, clip.message),
        "Description": clip.description,
        "Attachment_URL": clip.url,
        "Filename": clip.filename.removesuffix(_CUT),
        "channelId": str(clip.channel),
        "Expire_Timestamp": expiry_of(clip.url),
    }
    if clip.facts.runtime is not None:
        record["Runtime"] = float(clip.facts.runtime)
    return record


def record_text(record: Mapping[str, Any]) -> str:
    """One line of ASCII, without its end."""
    return json.dumps(record)


# --- reading ------------------------------------------------------------------------------------------


def read_record(data: bytes) -> Record:
    """What a record's file says. Keys may be missing, as long as it tells the message and the attachment or
    file. Raises UsageError for what is no record."""
    if len(data) > MOST:
        raise UsageError(f"it is larger than {MOST} bytes, and no record is")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("it is no JSON") from None
    if not isinstance(body, dict):
        raise UsageError("it is no JSON object")
    return _record(body)


def _record(body: Mapping[str, Any]) -> Record:
    guild, channel, message, poster = _place(body)
    url = _text(body, "Attachment_URL")
    found = _ATTACHMENT.search(urlsplit(url).path) if _is_url(url) else None
    attachment = _id(found[2]) if found else 0
    filename = unquote(PurePosixPath(urlsplit(url).path).name) if found else _named(body)
    if not attachment and not filename:
        raise UsageError("it names neither an attachment nor a file")
    return Record(
        alias=_text(body, "Id"),
        message=message,
        channel=channel,
        guild=guild,
        attachment=attachment,
        poster=poster,
        poster_name=_text(body, "Poster"),
        posted_ns=snowflake_ns(message),
        filename=filename,
        url=url if found else "",
        description=_text(body, "Description"),
        runtime=_seconds(body.get("Runtime")),
    )


def _place(body: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(server, channel, message, poster)."""
    link = _LINK.match(_text(body, "Link_to_message"))
    said, channel = _id(body.get("Discord_id")), _id(body.get("channelId"))
    guild, message = 0, said
    if link:
        guild = 0 if link[1] == "@me" else _id(link[1])
        channel, message = _id(link[2]), _id(link[3])
    if not channel or not message:
        raise UsageError(
            "it does not say which message it is of (Link_to_message, or Discord_id and channelId)"
        )
    return guild, channel, message, said if said != message else 0


def _named(body: Mapping[str, Any]) -> str:
    name = _text(body, "Filename")
    return name if not name or PurePosixPath(name).suffix else f"{name}{_CUT}"


def _text(body: Mapping[str, Any], key: str) -> str:
    found = body.get(key)
    return found if isinstance(found, str) else ""


def _id(value: object) -> int:
    """0 for what is no id."""
    return whole_number(value) or 0


def _is_url(text: str) -> bool:
    try:
        return urlsplit(text).scheme in ("http", "https")
    except ValueError:
        return False


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < _LONGEST_S and math.isfinite(value) else None
