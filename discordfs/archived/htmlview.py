"""A message as HTML: who, when, what it answers, its words, and what became of it. What belongs to it is in
htmlparts.py, the page around it in pageframe.py.

All that strangers wrote goes through markup.escaped. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from discordfs.archived import people
from discordfs.archived.htmlparts import Place, face, parts, reactions
from discordfs.archived.markup import Known, escaped, rendered
from discordfs.archived.merge import Merged, Version, body_of, edited
from discordfs.archived.pageframe import INDEX
from discordfs.archived.records import whole_number

__all__ = ["Place", "message_html"]

_REPLY, _FORWARD = 19, 1
_REPLY_LETTERS = 120


def message_html(merged: Merged, place: Place) -> str:
    """An article whose id is "m" and the message's."""
    value, number = merged.value, merged.id
    inside = "".join((*_opening(merged, place), *_contents(value, place), *_closing(merged, place)))
    look = " class=deleted" if merged.deleted else ""
    return f'<article id="m{number}"{look}>{face(people.author(value), place)}<div>{inside}</div></article>\n'


def _opening(merged: Merged, place: Place) -> Iterator[str]:
    value, moment, number = merged.value, people.moment(merged.id), merged.id
    author = people.author(value)
    yield _answered(value, place)
    yield f"<header><b><bdi>{escaped(people.user_name(author))}</bdi></b>"
    if author.get("bot"):
        yield '<span class="bot">bot</span>'
    yield f'<a href="#m{number}"><time datetime="{moment.isoformat()}">{moment:%H:%M:%S}</time></a>'
    if edited(value):
        yield f' <span title="{escaped(edited(value))}">(edited)</span>'
    if merged.deleted:
        yield ' <span class="gone">(deleted)</span>'
    yield "</header>"


def _answered(value: Mapping[str, Any], place: Place) -> str:
    """The message that this one answers, in a line."""
    reply = people.thing(value, "referenced_message")
    if not reply:
        return '<div class="reply">↪ <em>a message that is gone</em></div>' if _is_orphan(value) else ""
    author = people.author(reply)
    words = " ".join(people.text(reply, "content").split())[:_REPLY_LETTERS] or "…"
    where = _where(reply.get("channel_id"), reply.get("id"), place)
    name = f"<bdi>{escaped(people.user_name(author))}</bdi>"
    linked = f'<a href="{where}">{name}</a>' if where else name
    shown = rendered(words, known(reply, place))
    return f'<div class="reply">↪ {face(author, place)} {linked}: <bdi>{shown}</bdi></div>'


def _is_orphan(value: Mapping[str, Any]) -> bool:
    return value.get("type") == _REPLY and bool(people.thing(value, "message_reference"))


def _where(channel: object, message: object, place: Place) -> str:
    """A message's page as seen from this one, as far as it is in the archive; the channel's index without a
    message."""
    there, number = whole_number(channel) or place.id, whole_number(message)
    above = "" if there == place.id else place.pages(there)
    if not above and there != place.id:
        return ""
    page = INDEX if number is None else f"{people.moment(number):%Y-%m}.html#m{number}"
    return escaped(f"{above}/{page}" if above else page)


def known(value: Mapping[str, Any], place: Place) -> Known:
    """What the mentions in a message stand for."""
    names = {f"@{each.get('id')}": people.user_name(each) for each in people.things(value, "mentions")}
    for each in people.things(value, "mention_channels"):
        names[f"#{each.get('id')}"] = people.text(each, "name")
    return Known(lambda mention: names.get(mention) or place.name(mention), place.media)


def _contents(value: Mapping[str, Any], place: Place) -> Iterator[str]:
    notice, words, names = people.system_text(value), people.text(value, "content"), known(value, place)
    if notice:
        yield _notice(value, notice, place)
    elif words:
        yield f'<div class="text" dir="auto">{rendered(words, names)}</div>'
    for inner in people.snapshots(value):
        body = "".join(_contents({**inner, "message_snapshots": None}, place))
        yield f'<div class="old">{_forwarded(value, place)}{body}</div>'
    yield from parts(value, names, place)


def _notice(value: Mapping[str, Any], notice: str, place: Place) -> str:
    reference = people.thing(value, "message_reference")
    where = (
        _where(reference.get("channel_id"), reference.get("message_id"), place)
        if reference and value.get("type") != _REPLY
        else ""
    )
    text = f'<a href="{where}">{escaped(notice)}</a>' if where else escaped(notice)
    return f'<div class="text soft" dir="auto">{text}</div>'


def _forwarded(value: Mapping[str, Any], place: Place) -> str:
    reference = people.thing(value, "message_reference")
    where = _where(reference.get("channel_id"), reference.get("message_id"), place) if reference else ""
    return f'<span class="soft">{f"""<a href="{where}">Forwarded</a>""" if where else "Forwarded"}</span>'


def _closing(merged: Merged, place: Place) -> Iterator[str]:
    yield reactions(merged.value, place)
    earlier = merged.versions[:-1]
    if earlier:
        yield f"<details><summary class=soft>Earlier: {len(earlier)}</summary>"
        yield from (_earlier(version, place) for version in earlier)
        yield "</details>"


def _earlier(version: Version, place: Place) -> str:
    return f'<div class="old">{"".join(_contents(body_of(version), place))}</div>'
