"""Discord's markup as HTML. Whatever is not understood is shown as the text it is, escaped.

Nothing that a stranger wrote reaches the page but through `escaped`; links are http and https alone. Nesting
is bounded, so hostile text costs what its length costs. Threading: pure.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from discordfs.archived.pictures import emoji_key


@dataclass(frozen=True, slots=True)
class Known:
    """What the text itself does not say: the name that a mention ("@123", "#456") stands for, and where the
    file with a key (pictures.py) lies; "" where that is not known."""

    name: Callable[[str], str] = lambda mention: ""
    media: Callable[[str], str] = lambda key: ""


NOTHING = Known()

_DEPTH = 5

_TOKEN = re.compile(
    r"(?P<fence>```(?:[A-Za-z0-9_+-]*\n)?(?P<block>.+?)```\n?)"
    r"|(?P<tick>`(?P<code>[^`\n]+)`)"
    r"|\\(?P<plain>[\\*_~|`<>#-])"
    r"|<(?P<mention>@[!&]?|\#)(?P<who>\d{1,20})>"
    r"|<a?:(?P<emoji>\w{1,64}):(?P<picture>\d{1,20})>"
    r"|<t:(?P<time>-?\d{1,12})(?::[A-Za-z])?>"
    r"|(?P<angle><)?(?P<link>https?://[^\s<>\"'`\x00-\x20]{1,2000})(?(angle)>)"
    r"|\[(?P<label>[^\]\n]{1,300})\]\((?P<target>https?://[^\s<>\"'`)]{1,2000})\)"
    r"|\*\*(?P<bold>[^\n]{1,2000}?)\*\*"
    r"|__(?P<under>[^\n]{1,2000}?)__"
    r"|~~(?P<strike>[^\n]{1,2000}?)~~"
    r"|\|\|(?P<spoiler>.{1,2000}?)\|\|"
    r"|\*(?P<italic>[^\s*][^\n*]{0,1000})\*"
    r"|(?<!\w)_(?P<slant>[^\s_][^\n_]{0,1000})_(?!\w)",
    re.DOTALL,
)
_SPECIAL = re.compile(r"[`\\<*_~|\[]|https?:")
_WRAPS = {
    "bold": ("<strong>", "</strong>"),
    "under": ("<u>", "</u>"),
    "strike": ("<s>", "</s>"),
    "spoiler": ('<span class="spoiler" tabindex="0">', "</span>"),
    "italic": ("<em>", "</em>"),
    "slant": ("<em>", "</em>"),
}


def escaped(text: str) -> str:
    """Text or the value of an attribute in double quotes. Control characters become a sign that shows; marks
    of direction stay within their element, which isolates them."""
    if not text.isprintable():
        text = "".join("\ufffd" if _is_control(letter) else letter for letter in text)
    return html.escape(text, quote=True)


def _is_control(letter: str) -> bool:
    return letter in "\u202d\u202e" or (letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cs"))


def rendered(text: str, known: Known = NOTHING, depth: int = 0) -> str:
    """HTML of a message's text."""
    if not _SPECIAL.search(text):
        return escaped(text)
    parts, position = [], 0
    for match in _TOKEN.finditer(text):
        parts.append(escaped(text[position : match.start()]))
        parts.append(_token(match, known, depth))
        position = match.end()
    parts.append(escaped(text[position:]))
    return "".join(parts)


def _token(match: re.Match[str], known: Known, depth: int) -> str:
    kind = match.lastgroup or ""
    inner = _INNER.get(kind)
    if kind in _WRAPS:
        opening, closing = _WRAPS[kind]
        body = match[kind]
        return opening + (rendered(body, known, depth + 1) if depth < _DEPTH else escaped(body)) + closing
    return inner(match, known) if inner else escaped(match[0])


def _mention(match: re.Match[str], known: Known) -> str:
    sign = match["mention"][0]
    name = known.name(f"{sign}{match['who']}") or match["who"]
    return f'<span class="mention">{sign}<bdi>{escaped(name)}</bdi></span>'


def _emoji(match: re.Match[str], known: Known) -> str:
    name, where = f":{escaped(match['emoji'])}:", known.media(emoji_key(match["picture"]))
    if not where:
        return f'<span class="mention">{name}</span>'
    return f'<img src="{escaped(where)}" alt="{name}" title="{name}" class="emoji">'


def _time(match: re.Match[str], _known: Known) -> str:
    try:
        moment = datetime.fromtimestamp(int(match["time"]), UTC)
    except (ValueError, OverflowError, OSError):
        return escaped(match[0])
    return f'<time datetime="{moment.isoformat()}">{moment:%Y-%m-%d %H:%M} UTC</time>'


def link(target: str, label: str) -> str:
    """To another site; nothing is asked of it until somebody follows it."""
    if not target.startswith(("http://", "https://")):
        return escaped(label)
    return f'<a href="{escaped(target)}" rel="noopener noreferrer nofollow">{escaped(label)}</a>'


_INNER: dict[str, Callable[[re.Match[str], Known], str]] = {
    "fence": lambda match, _: f"<pre>{escaped(match['block'])}</pre>",
    "tick": lambda match, _: f"<code>{escaped(match['code'])}</code>",
    "plain": lambda match, _: escaped(match["plain"]),
    "who": _mention,
    "picture": _emoji,
    "time": _time,
    "link": lambda match, _: link(match["link"], match["link"]),
    "target": lambda match, _: link(match["target"], match["label"]),
}
