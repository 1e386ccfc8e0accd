"""What belongs to a message, as HTML: embeds, files, stickers, polls, buttons, threads, reactions, and its
author's picture.

Pictures are those that the archive has, linked relatively; where it has none there is a word or a letter
instead. Nothing is ever shown from outside. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from discordfs.archived import people, pictures
from discordfs.archived.markup import Known, escaped, link, rendered
from discordfs.archived.pageframe import INDEX
from discordfs.archived.records import whole_number

_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_MOVING = {"video": "video", "audio": "audio"}
_FACES = 6  # colours, in pageframe's style
_LOTTIE = 3  # a sticker's format that no browser shows by itself
_POLL_RESULT = "poll_result"


@dataclass(frozen=True, slots=True)
class Place:
    """What a page needs to know of the rest: the channel's id and name, the server's name; where the file
    with a key (pictures.py) lies as seen from the page, "" if it is not archived; where another channel's
    pages are, "" if there are none; what a mention ("#123", "@123") is called, "" if that is not known."""

    id: int
    channel: str
    server: str
    media: Callable[[str], str]
    pages: Callable[[int], str]
    name: Callable[[str], str]


def face(user: Mapping[str, Any], place: Place) -> str:
    """Somebody's picture, or the first letter of their name."""
    where = place.media(pictures.avatar_key(user))
    if where:
        return f'<img src="{escaped(where)}" alt="" class="face" loading="lazy">'
    number = (whole_number(user.get("id")) or 0) % _FACES
    letter = escaped(next(filter(str.isalnum, people.user_name(user)), "?"))
    return f'<span class="face f{number}" aria-hidden="true">{letter}</span>'


def parts(value: Mapping[str, Any], known: Known, place: Place) -> Iterator[str]:
    yield from (_embed(embed, known, place) for embed in people.things(value, "embeds"))
    yield from (_attachment(each, place) for each in people.things(value, "attachments"))
    yield from (_sticker(each, place) for each in people.things(value, "sticker_items"))
    yield from (_component(each, known, place) for each in people.components(value))
    poll, thread = people.thing(value, "poll"), people.thing(value, "thread")
    if poll:
        yield _poll(poll)
    if thread:
        yield _thread(thread, place)


# --- embeds ----------------------------------------------------------------------------------------------


def _embed(embed: Mapping[str, Any], known: Known, place: Place) -> str:
    shown = "".join(
        _poll_result(embed) if embed.get("type") == _POLL_RESULT else _embed_parts(embed, known, place)
    )
    return f'<div class="embed">{shown}</div>' if shown else ""


def _embed_parts(embed: Mapping[str, Any], known: Known, place: Place) -> Iterator[str]:
    for key in ("provider", "author"):
        if name := people.text(people.thing(embed, key), "name"):
            yield f'<p class="soft"><bdi>{escaped(name)}</bdi></p>'
    title, url = people.text(embed, "title"), people.text(embed, "url")
    if title or url:
        yield f"<b>{link(url, title or url) if url else escaped(title)}</b>"
    if described := people.text(embed, "description"):
        yield f'<div class="text" dir="auto">{rendered(described, known)}</div>'
    for field in people.things(embed, "fields"):
        name, words = people.text(field, "name"), people.text(field, "value")
        yield f'<div class="text" dir="auto"><b>{escaped(name)}</b> {rendered(words, known)}</div>'
    for part in ("image", "thumbnail"):
        if people.thing(embed, part):
            yield _embed_picture(embed, part, place)
    if words := people.text(people.thing(embed, "footer"), "text"):
        yield f'<p class="soft"><bdi>{escaped(words)}</bdi></p>'


def _embed_picture(embed: Mapping[str, Any], part: str, place: Place) -> str:
    where = place.media(pictures.embed_key(embed, part))
    if not where:
        return f'<p class="soft">{part.capitalize()} (not archived)</p>'
    return f'<img src="{escaped(where)}" alt="" class="shown" loading="lazy">'


def _poll_result(embed: Mapping[str, Any]) -> Iterator[str]:
    said = {people.text(each, "name"): people.text(each, "value") for each in people.things(embed, "fields")}
    yield f"<b>Poll: <bdi>{escaped(said.get('poll_question_text', ''))}</bdi></b>"
    if winner := said.get("victor_answer_text", ""):
        votes = f"{said.get('victor_answer_votes', '?')} of {said.get('total_votes', '?')}"
        yield f'<p>Won: <bdi>{escaped(winner)}</bdi> <span class="soft">{escaped(votes)} votes</span></p>'


# --- files -----------------------------------------------------------------------------------------------


def _attachment(attachment: Mapping[str, Any], place: Place) -> str:
    number = whole_number(attachment.get("id")) or 0
    name = escaped(people.text(attachment, "filename") or str(number))
    where = place.media(pictures.attachment_key(attachment))
    if not where:
        return f'<p class="soft">File: <bdi>{name}</bdi>, {_size(attachment)} (not archived)</p>'
    target = escaped(where)
    described = escaped(people.text(attachment, "description") or people.text(attachment, "filename"))
    shown = f'<a href="{target}"><bdi>{name}</bdi></a> <span class="soft">{_size(attachment)}</span>'
    kind = people.text(attachment, "content_type").partition(";")[0]
    if kind in _PICTURES:
        shown += f'<img src="{target}" alt="{described}" class="shown" loading="lazy">'
    elif tag := _MOVING.get(kind.partition("/")[0]):
        shown += f'<{tag} src="{target}" class="shown" controls preload="none"></{tag}>'
    return f"<div>{shown}</div>"


def _size(attachment: Mapping[str, Any]) -> str:
    size = whole_number(attachment.get("size"))
    return "size unknown" if size is None else f"{size:,} bytes"


def _sticker(sticker: Mapping[str, Any], place: Place) -> str:
    name, where = escaped(people.text(sticker, "name")), place.media(pictures.sticker_key(sticker))
    if where and sticker.get("format_type") != _LOTTIE:
        return f'<img src="{escaped(where)}" alt="Sticker: {name}" title="{name}" class="shown sticker">'
    shown = f'<a href="{escaped(where)}"><bdi>{name}</bdi></a>' if where else f"<bdi>{name}</bdi>"
    return f'<p class="soft">Sticker: {shown}</p>'


# --- the rest ----------------------------------------------------------------------------------------------


def _component(component: Mapping[str, Any], known: Known, place: Place) -> str:
    words = people.component_text(component)
    if component.get("type") == people.TEXT_DISPLAY:
        return f'<div class="text" dir="auto">{rendered(words, known)}</div>'
    url = people.text(component, "url")
    return f'<span class="button">{link(url, words or url)}</span>' if words or url else ""


def _poll(poll: Mapping[str, Any]) -> str:
    question = escaped(people.text(people.thing(poll, "question"), "text"))
    counts = {
        str(each.get("id")): whole_number(each.get("count")) or 0
        for each in people.things(people.thing(poll, "results"), "answer_counts")
    }
    answers = "".join(
        f"<li><bdi>{escaped(people.text(people.thing(each, 'poll_media'), 'text'))}</bdi>: "
        f"{counts.get(str(each.get('answer_id')), 0)}</li>"
        for each in people.things(poll, "answers")
    )
    return f'<div class="embed"><b>Poll: <bdi>{question}</bdi></b><ul>{answers}</ul></div>'


def _thread(thread: Mapping[str, Any], place: Place) -> str:
    name, above = escaped(people.text(thread, "name")), place.pages(whole_number(thread.get("id")) or 0)
    shown = f'<a href="{escaped(above)}/{INDEX}"><bdi>{name}</bdi></a>' if above else f"<bdi>{name}</bdi>"
    return f'<p class="soft">Thread: {shown}</p>'


def reactions(value: Mapping[str, Any], place: Place) -> str:
    shown = "".join(_reaction(each, place) for each in people.things(value, "reactions"))
    return f'<div class="reactions" aria-label="Reactions">{shown}</div>' if shown else ""


def _reaction(reaction: Mapping[str, Any], place: Place) -> str:
    emoji, count = people.thing(reaction, "emoji"), whole_number(reaction.get("count")) or 0
    name, where = escaped(people.emoji_text(emoji)), place.media(pictures.emoji_key(emoji.get("id")))
    if where:
        return f'<span><img src="{escaped(where)}" alt="{name}" title="{name}" class="emoji"> {count}</span>'
    return f"<span><bdi>{name}</bdi> {count}</span>"
