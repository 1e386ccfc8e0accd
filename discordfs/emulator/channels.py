"""Checks the JSON of a channel to be made or changed (Discord's documents, "Create Guild Channel").
Threading: pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import errors
from .errors import invalid_form
from .model import CATEGORY, CHANNEL_TYPES, POST_CHANNELS, STAGE, TEXT, VOICE, Channel, Overwrite, Tag
from .world import World

_MOST_NAME = 100
_MOST_IN_CATEGORY = 50
_MOST_TAGS = 20
_TAGS = 1 << 21  # set in the ids of tags and of nothing else
_MOST_TAG_NAME = 50


def new(channel_id: int, body: Mapping[str, object], world: World, held: int) -> Channel:
    """A channel as asked for; `held` are the maker's permissions, beyond which no overwrite may go."""
    kind = body.get("type", TEXT)
    if kind not in CHANNEL_TYPES:
        raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {sorted(CHANNEL_TYPES)}.")
    if "name" not in body:
        raise invalid_form("name", "BASE_TYPE_REQUIRED", "This field is required")
    position = sum(each.kind == kind for each in world.channels.values())
    blank = Channel(channel_id, int(str(kind)), "", position=position)
    return changed(blank, body, world, held)


def changed(channel: Channel, body: Mapping[str, object], world: World, held: int) -> Channel:
    """The channel after these changes."""
    values: dict[str, Any] = {}
    if body.get("name") is not None or not channel.name:
        values["name"] = _name(body.get("name"), channel.kind)
    if "parent_id" in body:
        values["parent_id"] = _parent(body["parent_id"], channel, world)
    if "topic" in body:
        values["topic"] = _topic(body["topic"], channel.kind)
    if body.get("permission_overwrites") is not None:
        values["overwrites"] = overwrites(body["permission_overwrites"], held)
    if body.get("available_tags") is not None and channel.kind in POST_CHANNELS:
        values["tags"] = _tags(body["available_tags"], channel)
    if isinstance(body.get("nsfw"), bool):
        values["nsfw"] = body["nsfw"]
    for key, most in (("position", 1 << 30), ("rate_limit_per_user", 21600)):
        if body.get(key) is not None:
            values[key] = _integer(key, body[key], most)
    return replace(channel, **values)


def _name(value: object, kind: int) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MOST_NAME:
        raise invalid_form("name", "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {_MOST_NAME} in length.")
    if kind in (CATEGORY, VOICE, STAGE):
        return value
    return "-".join(value.lower().split())  # text channels have names without capitals and spaces


def _parent(value: object, channel: Channel, world: World) -> int | None:
    if value is None:
        return None
    parent = world.channels.get(int(str(value)) if str(value).isdecimal() else 0)
    if parent is None or parent.kind != CATEGORY or channel.kind == CATEGORY:
        raise invalid_form("parent_id", "CHANNEL_PARENT_INVALID", "Category does not exist")
    siblings = sum(each.parent_id == parent.id and each.id != channel.id for each in world.channels.values())
    if siblings >= _MOST_IN_CATEGORY:
        message = f"Maximum number of channels in category reached ({_MOST_IN_CATEGORY})"
        raise invalid_form("parent_id", "CHANNEL_PARENT_MAX_CHANNELS", message)
    return parent.id


def _topic(value: object, kind: int) -> str | None:
    most = 4096 if kind in POST_CHANNELS else 1024
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > most:
        raise invalid_form("topic", "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
    return value or None


def _tags(value: object, channel: Channel) -> tuple[Tag, ...]:
    """The tags as asked for; those without an id of their own get the next free one."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise invalid_form("available_tags", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    if len(value) > _MOST_TAGS:
        message = f"Must be {_MOST_TAGS} or fewer in length."
        raise invalid_form("available_tags", "BASE_TYPE_MAX_LENGTH", message)
    known = {each.id for each in channel.tags}
    free = max(known, default=channel.id | _TAGS)
    made = []
    for each in value:
        name = str(each.get("name", ""))
        if not 1 <= len(name) <= _MOST_TAG_NAME:
            message = f"Must be between 1 and {_MOST_TAG_NAME} in length."
            raise invalid_form("available_tags", "BASE_TYPE_BAD_LENGTH", message)
        number = int(str(each.get("id") or 0))
        if number not in known:
            number = free = free + 1
        made.append(Tag(number, name, each.get("moderated") is True, each.get("emoji_name")))
    return tuple(made)


def _integer(key: str, value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise invalid_form(key, "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.')
    return value


def overwrites(value: object, held: int) -> tuple[Overwrite, ...]:
    """A checked list of overwrites."""
    if not isinstance(value, list):
        path = "permission_overwrites"
        raise invalid_form(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
    return tuple(overwrite(each, held) for each in value)


def overwrite(value: object, held: int) -> Overwrite:
    """One checked overwrite: nobody gives or takes what they do not have (50013)."""
    path = "permission_overwrites"
    if not isinstance(value, dict):
        raise invalid_form(path, "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")
    numbers = {key: str(value.get(key) or 0) for key in ("id", "type", "allow", "deny")}
    numbers["type"] = {"role": "0", "member": "1"}.get(numbers["type"], numbers["type"])
    if not all(text.isdecimal() for text in numbers.values()) or numbers["type"] not in ("0", "1"):
        raise invalid_form(path, "NUMBER_TYPE_COERCE", "An overwrite needs id, type, allow and deny.")
    made = Overwrite(*(int(numbers[key]) for key in ("id", "type", "allow", "deny")))
    if (made.allow | made.deny) & ~held:
        raise errors.missing_permissions()
    return made
