"""What messages say of people and things, in words: names, kinds of messages, what is searched. Threading:
pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from discordfs.archived.records import whole_number
from discordfs.remote.base import snowflake_ns

_SYSTEM = {
    1: "added {other} to the group",
    2: "removed {other} from the group",
    3: "started a call",
    4: "changed the channel's name: {text}",
    5: "changed the channel's icon",
    6: "pinned a message to this channel",
    7: "joined the server",
    8: "boosted the server",
    9: "boosted the server: level 1",
    10: "boosted the server: level 2",
    11: "boosted the server: level 3",
    12: "follows a channel here: {text}",
    14: "the server may no longer be found by strangers",
    15: "the server may be found by strangers again",
    16: "the server will no longer be found by strangers unless that is mended",
    17: "the server will no longer be found by strangers: the last warning",
    18: "started a thread: {text}",
    22: "a reminder to invite people",
    24: "was stopped by AutoMod",
    25: "bought a subscription",
    27: "started the stage: {text}",
    28: "ended the stage: {text}",
    29: "speaks on the stage",
    30: "asks to speak on the stage",
    31: "changed the stage's topic: {text}",
    36: "turned security actions on",
    37: "turned security actions off",
    38: "reported a raid",
    39: "reported a false alarm",
    44: "bought something",
    46: "the poll has ended",
}
_CONTENTS = (
    *("content", "embeds", "attachments", "components", "sticker_items", "message_snapshots", "poll"),
    *("stickers", "activity", "application", "call"),
)
_ORDINARY = frozenset({0, 19, 20, 21, 23})
_DEPTH = 5  # how deep components lie in each other: Discord allows fewer
TEXT_DISPLAY = 10
"""The kind of component that is text."""


def things(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects of an array; empty when it is none."""
    found = value.get(key)
    return [each for each in found if isinstance(each, dict)] if found and isinstance(found, list) else []


def thing(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def user_name(user: Mapping[str, Any]) -> str:
    """As people see it; "unknown" of nobody."""
    return text(user, "global_name") or text(user, "username") or "unknown"


def author(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return thing(value, "author")


def author_id(value: Mapping[str, Any]) -> int:
    return whole_number(author(value).get("id")) or 0


def moment(number: int) -> datetime:
    """When Discord made this id, UTC. Of an absurd one the last that there is."""
    try:
        return datetime.fromtimestamp(snowflake_ns(number) / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def system_text(value: Mapping[str, Any]) -> str:
    """What a message that nobody wrote says; empty for an ordinary one."""
    kind = value.get("type", 0)
    if not isinstance(kind, int) or kind in _ORDINARY:
        return ""
    mentioned = things(value, "mentions")
    other = user_name(mentioned[0]) if mentioned else "somebody"
    return _SYSTEM.get(kind, "a notice of kind {kind}").format(
        other=other, text=text(value, "content"), kind=kind
    )


def snapshots(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages that this one forwards."""
    return [thing(each, "message") for each in things(value, "message_snapshots")]


def is_empty(value: Mapping[str, Any]) -> bool:
    """Nothing is in it: as it comes without MESSAGE_CONTENT, or because there never was anything."""
    return not any(value.get(key) for key in _CONTENTS)


def searched(value: Mapping[str, Any]) -> str:
    """All words in a message: its text, embeds, polls, files' names, what it forwards."""
    return "\n".join(filter(None, _words(value)))


def _words(value: Mapping[str, Any]) -> Iterator[str]:
    yield text(value, "content")
    for embed in things(value, "embeds"):
        yield from (text(embed, "title"), text(embed, "description"))
        for field in things(embed, "fields"):
            yield from (text(field, "name"), text(field, "value"))
    for attachment in things(value, "attachments"):
        yield from (text(attachment, "filename"), text(attachment, "description"))
    poll = thing(value, "poll")
    yield text(thing(poll, "question"), "text")
    for answer in things(poll, "answers"):
        yield text(thing(answer, "poll_media"), "text")
    yield from map(component_text, components(value))
    for inner in snapshots(value):
        yield from _words({**inner, "message_snapshots": None})


def components(value: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Buttons, texts and whatever else a message is made of, those in others after them."""
    for each in things(value, "components") if depth < _DEPTH else ():
        yield each
        yield from components(each, depth + 1)
        if accessory := thing(each, "accessory"):
            yield accessory


def component_text(component: Mapping[str, Any]) -> str:
    """The words on it; empty for one that has none."""
    key = "content" if component.get("type") == TEXT_DISPLAY else "label"
    return text(component, key) or text(component, "placeholder")


def reactions(value: Mapping[str, Any]) -> list[tuple[str, int]]:
    """(emoji, how often)."""
    return [
        (emoji_text(thing(each, "emoji")), whole_number(each.get("count")) or 0)
        for each in things(value, "reactions")
    ]


def emoji_text(emoji: Mapping[str, Any]) -> str:
    name = text(emoji, "name")
    return f":{name}:" if emoji.get("id") else name or "?"
