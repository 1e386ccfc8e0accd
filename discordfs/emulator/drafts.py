"""Checks the JSON of a message to be created or edited against Discord's limits (Discord's documents).

Threading: pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import components, polls
from .bodies import Form
from .errors import ApiError, invalid_form
from .files import Upload
from .model import Attachment
from .urls import HERE

MOST_CONTENT = 2000
MOST_NONCE = 25
MOST_ATTACHMENTS = 10
MOST_EMBEDS = 10
MOST_EMBED_TEXT = 6000
MOST_STICKERS = 3
FORWARD = 1  # a type of reference; 0 is a reply's
_PART = re.compile(r"files?\[?(\d*)\]?")
_SUPPRESS = 1 << 2 | 1 << 12  # the flags a bot may set: suppress embeds, suppress notifications


@dataclass(frozen=True, slots=True)
class NewFile:
    """A received file with what the payload says about it."""

    upload: Upload
    filename: str
    description: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A checked message body. `retained` None: the payload says nothing of the attachments that are
    there.
    """

    content: str | None
    nonce: str | None
    enforce_nonce: bool
    tts: bool
    flags: int
    embeds: tuple[Mapping[str, object], ...] | None
    files: tuple[NewFile, ...]
    retained: frozenset[int] | None
    reference: Mapping[str, object] = field(default_factory=dict)
    components: tuple[Mapping[str, Any], ...] | None = None
    sticker_ids: tuple[int, ...] = ()
    poll: Mapping[str, Any] | None = None

    @property
    def forwards(self) -> bool:
        """Whether it is the forwarding of a message."""
        return self.reference.get("type") == FORWARD

    @property
    def empty(self) -> bool:
        """Whether there is nothing to post."""
        said = (self.content, self.files, self.embeds, self.components, self.sticker_ids, self.poll)
        return not (any(said) or self.forwards)


@dataclass(frozen=True, slots=True)
class Addition:
    """What a message gets beside its body: JSON, and stored files to be copied into it (of a forward)."""

    extra: Mapping[str, object] = field(default_factory=dict)
    sources: tuple[Attachment, ...] = ()


def draft(form: Form, present: frozenset[int] = frozenset()) -> Draft:
    """The checked body; `present` are the ids of the attachments of the message being edited."""
    payload = form.payload
    content = _content(payload.get("content"))
    files = _indexed(form.files)
    named = _attachment_list(payload)
    retained = None if "attachments" not in payload else _retained(named, present, files)
    kept = len(present if retained is None else retained)
    if kept + len(files) > MOST_ATTACHMENTS:
        raise ApiError(400, 30015, f"Maximum number of attachments in a message reached ({MOST_ATTACHMENTS})")
    return Draft(
        content=content,
        nonce=_nonce(payload.get("nonce")),
        enforce_nonce=payload.get("enforce_nonce") is True,
        tts=payload.get("tts") is True,
        flags=_integer(payload, "flags") & _SUPPRESS,
        embeds=_embeds(payload),
        files=tuple(_new_file(upload, index, named) for index, upload in sorted(files.items())),
        retained=retained,
        reference=_reference(payload.get("message_reference")),
        components=components.checked(payload.get("components")),
        sticker_ids=_stickers(payload.get("sticker_ids")),
        poll=polls.checked(payload.get("poll")),
    )


def _content(value: object) -> str | None:
    if value is None:
        return None
    text = str(value) if isinstance(value, str | int | float) else None
    if text is None:
        raise invalid_form("content", "STRING_TYPE_CONVERT", "Could not interpret as string.")
    if len(text) > MOST_CONTENT:
        raise _too_long("content", MOST_CONTENT)
    return text.strip()


def _nonce(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise invalid_form("nonce", "NONCE_TYPE_INVALID", "Nonce must be a string or an integer.")
    if len(str(value)) > MOST_NONCE:
        raise _too_long("nonce", MOST_NONCE)
    return str(value)


def _too_long(path: str, most: int) -> ApiError:
    return invalid_form(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")


def _integer(payload: Mapping[str, object], key: str) -> int:
    value = payload.get(key) or 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid_form(key, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
    return value


def _embeds(payload: Mapping[str, object]) -> tuple[Mapping[str, object], ...] | None:
    if "embeds" not in payload:
        return None
    value = payload["embeds"] or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid_form("embeds", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if len(value) > MOST_EMBEDS:
        raise invalid_form("embeds", "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_EMBEDS} or fewer in length.")
    if not all(isinstance(each, dict) for embed in value for each in embed.get("fields") or []):
        raise invalid_form("embeds", "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    if sum(_text_length(each) for each in value) > MOST_EMBED_TEXT:
        raise invalid_form("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")
    return tuple(_embed(each) for each in value)


def _embed(embed: Mapping[str, object]) -> Mapping[str, object]:
    """As Discord gives it back: with its type, and with every field's `inline`."""
    fields = embed.get("fields")
    pictures = {
        key: _picture(embed[key]) for key in ("image", "thumbnail") if isinstance(embed.get(key), dict)
    }
    embed = {**embed, **pictures}
    if not isinstance(fields, list):
        return {"type": "rich", **embed}
    return {"type": "rich", **embed, "fields": [{"inline": False, **each} for each in fields]}


def _picture(value: Any) -> Mapping[str, object]:
    """With the place of Discord's own copy, as far as the scheme is one that it fetches."""
    scheme, sign, rest = str(value.get("url", "")).partition("://")
    proxy = f"{HERE}/external/x/{scheme}/{rest}" if sign and scheme in ("http", "https") else None
    return {**value, "proxy_url": proxy} if proxy is not None and "proxy_url" not in value else value


def _text_length(embed: Mapping[str, object]) -> int:
    total = sum(len(str(embed.get(key) or "")) for key in ("title", "description"))
    fields = embed.get("fields")
    for each in fields if isinstance(fields, list) else []:
        total += (
            sum(len(str(each.get(key) or "")) for key in ("name", "value")) if isinstance(each, dict) else 0
        )
    return total


def _indexed(files: Mapping[str, Upload]) -> dict[int, Upload]:
    """Files by n of `files[n]`; other names of parts get the numbers after those."""
    indexed: dict[int, Upload] = {}
    others: list[Upload] = []
    for name, upload in files.items():
        match = _PART.fullmatch(name)
        if match is not None and match[1] and int(match[1]) not in indexed:
            indexed[int(match[1])] = upload
        else:
            others.append(upload)
    first = max(indexed, default=-1) + 1
    return indexed | dict(enumerate(others, first))


def _attachment_list(payload: Mapping[str, object]) -> dict[int, Mapping[str, object]]:
    value = payload.get("attachments") or []
    if not isinstance(value, list):
        raise invalid_form("attachments", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    named: dict[int, Mapping[str, object]] = {}
    for position, each in enumerate(value):
        number = str(each.get("id", "")) if isinstance(each, dict) else ""
        if not number.isdigit():
            path = f"attachments.{position}.id"
            raise invalid_form(path, "NUMBER_TYPE_COERCE", f'Value "{number}" is not snowflake.')
        named[int(number)] = each
    return named


def _retained(
    named: Mapping[int, object], present: frozenset[int], files: Mapping[int, Upload]
) -> frozenset[int]:
    for position, number in enumerate(named):
        if number not in present and number not in files:
            path = f"attachments.{position}.id"
            raise invalid_form(path, "ATTACHMENT_NOT_FOUND", "There is no file with this id.")
    return frozenset(number for number in named if number in present)


def _new_file(upload: Upload, index: int, named: Mapping[int, Mapping[str, object]]) -> NewFile:
    said = named.get(index, {})
    description = said.get("description")
    filename = str(said.get("filename") or upload.filename)
    return NewFile(upload, filename, None if description is None else str(description)[:1024])


def _reference(value: object) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not str(value.get("message_id", "")).isdigit():
        raise invalid_form("message_reference", "DICT_TYPE_CONVERT", "message_id is needed")
    if value.get("type", 0) not in (0, FORWARD):
        raise invalid_form("message_reference.type", "BASE_TYPE_CHOICES", "Value must be one of (0, 1).")
    if value.get("type") == FORWARD and not str(value.get("channel_id", "")).isdigit():
        raise invalid_form("message_reference.channel_id", "BASE_TYPE_REQUIRED", "This field is required")
    return value


def _stickers(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(str(each).isdigit() for each in value):
        raise invalid_form("sticker_ids", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if len(value) > MOST_STICKERS:
        raise invalid_form("sticker_ids", "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_STICKERS} or fewer.")
    return tuple(int(str(each)) for each in value)
