"""A channel as web pages: one a month, and an index. Each is one file that needs no other and no script.

A policy in each page forbids all scripts and everything from outside but pictures and sounds of the archive
itself, which are linked relatively. All that strangers wrote goes through markup.escaped. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from discordfs.archived import people
from discordfs.archived.catalogue import Month
from discordfs.archived.markup import Names, escaped, link, rendered
from discordfs.archived.merge import Merged, Version, edited
from discordfs.archived.records import json_value, whole_number

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:; media-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
_STYLE = """
:root{color-scheme:light dark;--back:#fff;--front:#1e1f22;
--soft:#5c5e66;--line:#dcdee3;--box:#f2f3f5;--mark:#3f51d9;
--gone:#b3261e}
@media(prefers-color-scheme:dark){:root{--back:#1e1f22;--front:#e3e5e8;--soft:#a5a8b0;--line:#3a3c42;--box:#2b2d31;
--mark:#a8b1ff;--gone:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:60rem;background:var(--back);color:var(--front);
font:1rem/1.45 system-ui,sans-serif}
a{color:var(--mark)}a:focus,.spoiler:focus,summary:focus{outline:2px solid var(--mark);outline-offset:2px}
h1{font-size:1.3rem;margin:.5rem 0}h2{font-size:1rem;color:var(--soft);border-bottom:1px solid var(--line)}
nav{display:flex;gap:1rem;flex-wrap:wrap;margin:.5rem 0}
article{padding:.4rem .5rem;border-radius:.3rem;overflow-wrap:anywhere}
article:target{background:var(--box);outline:2px solid var(--mark)}
article.deleted{border-left:3px solid var(--gone)}
header b{margin-right:.5rem}header,.soft{color:var(--soft);font-size:.85rem}
header b{color:var(--front);font-size:1rem}
header a{color:inherit;text-decoration:none}header a:hover{text-decoration:underline}
.text{white-space:pre-wrap;unicode-bidi:isolate}
.gone{color:var(--gone)}
blockquote,.embed,.old{
margin:.3rem 0;padding:.3rem .6rem;border-left:3px solid var(--line);background:var(--box)}
pre{background:var(--box);padding:.5rem;overflow-x:auto;white-space:pre-wrap}code{background:var(--box)}
.spoiler{background:var(--front);color:var(--front)}.spoiler:hover,.spoiler:focus{background:var(--box)}
.mention{color:var(--mark)}
.reactions span{
display:inline-block;border:1px solid var(--line);border-radius:1rem;padding:0 .5rem;margin:.15rem .3rem 0 0}
img,video{max-width:100%;max-height:24rem;display:block;margin:.3rem 0}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left}
"""
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"})
_MOVING = {"video": "video", "audio": "audio"}


@dataclass(frozen=True, slots=True)
class Place:
    """What a page needs to know of the rest: the channel's and server's names, where an attachment's file
    lies as seen from the page ("" if it is not archived), and where a thread's pages are ("" if there are
    none)."""

    channel: str
    server: str
    media: Callable[[int], str]
    thread: Callable[[int], str]


def page_head(place: Place, month: str, before: str, after: str) -> str:
    """Up to the first message; `before` and `after` are the months beside it, or empty."""
    title = f"{place.channel} {month}"
    beside = (
        f'<a href="{before}.html" rel="prev" accesskey="p">← {before}</a>' if before else "",
        '<a href="index.html" accesskey="i">All months</a>',
        f'<a href="{after}.html" rel="next" accesskey="n">{after} →</a>' if after else "",
    )
    return (
        f'{_head(title)}<nav aria-label="Months">{"".join(beside)}</nav>'
        f"<h1><bdi>{escaped(place.channel)}</bdi>, {month}</h1>"
        f'<p class="soft"><bdi>{escaped(place.server)}</bdi>; times are UTC</p><main id="messages">\n'
    )


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head><body>"
        '<a class="skip" href="#messages">To the messages</a>'
    )


PAGE_END = "</main></body></html>\n"


def index_page(place: Place, months: Sequence[Month], threads: Sequence[tuple[str, str]]) -> str:
    """The months, and (name, link) of the threads below this channel."""
    rows = "".join(
        f'<tr><td><a href="{each.month}.html">{each.month}</a></td><td>{each.messages}</td>'
        f"<td>{each.edited}</td><td>{each.deleted}</td></tr>"
        for each in reversed(months)
    )
    below = "".join(
        f'<li><a href="{escaped(place)}"><bdi>{escaped(name)}</bdi></a></li>' for name, place in threads
    )
    return (
        f"{_head(place.channel)}<h1><bdi>{escaped(place.channel)}</bdi></h1>"
        f'<p class="soft"><bdi>{escaped(place.server)}</bdi></p><main id="messages">'
        "<table><thead><tr><th>Month</th><th>Messages</th><th>Edited</th><th>Deleted</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{f'<h2>Threads</h2><ul>{below}</ul>' if below else ''}{PAGE_END}"
    )


def day_head(day: str) -> str:
    return f"<h2>{day}</h2>\n"


def message_html(merged: Merged, place: Place) -> str:
    """An article whose id is "m" and the message's."""
    value = merged.value
    return "".join((*_opening(merged), *_contents(value, place), *_closing(merged, place), "</article>\n"))


def _opening(merged: Merged) -> Iterator[str]:
    value, moment = merged.value, people.moment(merged.id)
    author = people.author(value)
    number = merged.id
    yield f'<article id="m{number}"{" class=deleted" if merged.deleted else ""}><header>'
    yield f"<b><bdi>{escaped(people.user_name(author))}</bdi></b>"
    if author.get("bot"):
        yield "[bot] "
    yield f'<a href="#m{number}"><time datetime="{moment.isoformat()}">{moment:%H:%M:%S}</time></a>'
    if edited(value):
        yield f' <span title="{escaped(edited(value))}">(edited)</span>'
    if merged.deleted:
        yield ' <span class="gone">(deleted)</span>'
    yield "</header>"
    reply = people.thing(value, "referenced_message")
    if reply:
        yield _reply(reply)


def _reply(reply: Mapping[str, Any]) -> str:
    number = whole_number(reply.get("id")) or 0
    page = f"{people.moment(number):%Y-%m}.html#m{number}"
    words = " ".join(people.text(reply, "content").split())[:120] or "…"
    name = escaped(people.user_name(people.author(reply)))
    shown = rendered(words, _names(reply))
    return f'<blockquote>↪ <a href="{page}"><bdi>{name}</bdi></a>: <bdi>{shown}</bdi></blockquote>'


def _contents(value: Mapping[str, Any], place: Place) -> Iterator[str]:
    names, notice = _names(value), people.system_text(value)
    words = people.text(value, "content")
    if notice:
        yield f'<div class="text soft" dir="auto">{escaped(notice)}</div>'
    elif words:
        yield f'<div class="text" dir="auto">{rendered(words, names)}</div>'
    for inner in people.snapshots(value):
        body = "".join(_contents({**inner, "message_snapshots": None}, place))
        yield f'<div class="old"><span class="soft">Forwarded</span>{body}</div>'
    yield from (_embed(embed, names) for embed in people.things(value, "embeds"))
    yield from (_attachment(each, place) for each in people.things(value, "attachments"))
    for sticker in people.things(value, "sticker_items"):
        yield f'<p class="soft">Sticker: <bdi>{escaped(people.text(sticker, "name"))}</bdi></p>'
    poll = people.thing(value, "poll")
    if poll:
        yield _poll(poll)
    thread = people.thing(value, "thread")
    if thread:
        yield _thread(thread, place)


def _names(value: Mapping[str, Any]) -> Names:
    found = {f"@{each.get('id')}": people.user_name(each) for each in people.things(value, "mentions")}
    channels = people.things(value, "mention_channels")
    return found | {f"#{each.get('id')}": people.text(each, "name") for each in channels}


def _embed(embed: Mapping[str, Any], names: Names) -> str:
    title, url = people.text(embed, "title"), people.text(embed, "url")
    parts = [f"<b>{link(url, title or url) if url else escaped(title)}</b>"] if title or url else []
    if described := people.text(embed, "description"):
        parts.append(f'<div class="text" dir="auto">{rendered(described, names)}</div>')
    for field in people.things(embed, "fields"):
        name, words = people.text(field, "name"), people.text(field, "value")
        parts.append(f'<div class="text" dir="auto"><b>{escaped(name)}</b> {rendered(words, names)}</div>')
    return f'<div class="embed">{"".join(parts)}</div>' if parts else ""


def _attachment(attachment: Mapping[str, Any], place: Place) -> str:
    number = whole_number(attachment.get("id")) or 0
    name, where = escaped(people.text(attachment, "filename") or str(number)), place.media(number)
    if not where:
        return f'<p class="soft">File: <bdi>{name}</bdi>, {_size(attachment)} (not archived)</p>'
    target = escaped(where)
    described = escaped(people.text(attachment, "description") or people.text(attachment, "filename"))
    shown = f'<a href="{target}"><bdi>{name}</bdi></a> <span class="soft">{_size(attachment)}</span>'
    kind = people.text(attachment, "content_type").partition(";")[0]
    if kind in _PICTURES:
        shown += f'<img src="{target}" alt="{described}" loading="lazy">'
    elif tag := _MOVING.get(kind.partition("/")[0]):
        shown += f'<{tag} src="{target}" controls preload="none"></{tag}>'
    return f"<div>{shown}</div>"


def _size(attachment: Mapping[str, Any]) -> str:
    size = whole_number(attachment.get("size"))
    return "size unknown" if size is None else f"{size:,} bytes"


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
    name, where = escaped(people.text(thread, "name")), place.thread(whole_number(thread.get("id")) or 0)
    shown = f'<a href="{escaped(where)}"><bdi>{name}</bdi></a>' if where else f"<bdi>{name}</bdi>"
    return f'<p class="soft">Thread: {shown}</p>'


def _closing(merged: Merged, place: Place) -> Iterator[str]:
    found = people.reactions(merged.value)
    if found:
        shown = "".join(f"<span><bdi>{escaped(emoji)}</bdi> {count}</span>" for emoji, count in found)
        yield f'<div class="reactions" aria-label="Reactions">{shown}</div>'
    earlier = merged.versions[:-1]
    if earlier:
        yield f"<details><summary class=soft>Earlier: {len(earlier)}</summary>"
        yield from (_earlier(version, place) for version in earlier)
        yield "</details>"


def _earlier(version: Version, place: Place) -> str:
    value = json_value(version.last.body.decode("utf-8", "surrogateescape"))
    return f'<div class="old">{"".join(_contents(value, place))}</div>'


def relative(*parts: str) -> str:
    """A relative link through names that may hold anything."""
    return "/".join(part if part == ".." else quote(part, errors="surrogateescape") for part in parts)
