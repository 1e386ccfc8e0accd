"""messages.txt: a channel as plain text, harmless on any terminal.

One message begins with its time (UTC) and author; what belongs to it is indented, so that no content can look
like another message. Control characters and marks that turn the direction of writing are shown as escapes.
Threading: pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from discordfs.archived import people
from discordfs.archived.merge import Merged, edited

_INDENT = "    "


def harmless(text: str, keep: str = "") -> str:
    """Without anything that a terminal acts on; `keep` are control characters that stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in keep or not _acts(letter) else _escaped(letter) for letter in text)


def _acts(letter: str) -> bool:
    return letter != "\u200d" and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")


def _escaped(letter: str) -> str:
    number = ord(letter)
    return (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
    )


def message_text(merged: Merged) -> str:
    """The lines of a message, each with its end."""
    value = merged.value
    head = (
        f"[{people.moment(merged.id):%Y-%m-%d %H:%M:%S}] {harmless(people.user_name(people.author(value)))}"
    )
    notice = people.system_text(value)
    marks = [name for name, holds in (("edited", edited(value)), ("deleted", merged.deleted)) if holds]
    head += f" ({', '.join(marks)})" if marks else ""
    lines = [f"{head} * {harmless(notice)}"] if notice else [f"{head}:", *_body(value)]
    lines += [_INDENT + line for line in _reactions(value)]
    return "\n".join(lines) + "\n"


def _body(value: Mapping[str, Any]) -> Iterator[str]:
    for line in _lines(value):
        yield _INDENT + harmless(line, "\t")


def _lines(value: Mapping[str, Any]) -> Iterator[str]:
    reply = people.thing(value, "referenced_message")
    if reply:
        quoted = " ".join(people.text(reply, "content").split())[:80]
        yield f"> {people.user_name(people.author(reply))}: {quoted}"
    yield from people.text(value, "content").splitlines()
    for inner in people.snapshots(value):
        yield "forwarded:"
        yield from (f"| {line}" for line in _lines({**inner, "message_snapshots": None}))
    for embed in people.things(value, "embeds"):
        yield from (f"| {line}" for line in _embed(embed))
    for component in people.components(value):
        words, url = people.component_text(component), people.text(component, "url")
        yield from (f"| {line}" for line in " ".join(filter(None, (words, url))).splitlines())
    for attachment in people.things(value, "attachments"):
        yield f"[file] {people.text(attachment, 'filename')} ({attachment.get('size', '?')} bytes)"
    for sticker in people.things(value, "sticker_items"):
        yield f"[sticker] {people.text(sticker, 'name')}"
    yield from _poll(people.thing(value, "poll"))
    thread = people.thing(value, "thread")
    if thread:
        yield f"[thread] {people.text(thread, 'name')} ({thread.get('id')})"


def _embed(embed: Mapping[str, Any]) -> Iterator[str]:
    for key in ("title", "url", "description"):
        yield from people.text(embed, key).splitlines()
    for field in people.things(embed, "fields"):
        yield f"{people.text(field, 'name')}: {people.text(field, 'value')}"


def _poll(poll: Mapping[str, Any]) -> Iterator[str]:
    if poll:
        yield f"[poll] {people.text(people.thing(poll, 'question'), 'text')}"
    for answer in people.things(poll, "answers"):
        yield f"- {people.text(people.thing(answer, 'poll_media'), 'text')}"


def _reactions(value: Mapping[str, Any]) -> list[str]:
    found = people.reactions(value)
    return [" ".join(f"{harmless(emoji)} {count}" for emoji, count in found)] if found else []
