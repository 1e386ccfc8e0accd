"""Discord's markup as HTML. Whatever is not understood is shown as the text it is, escaped.

Nothing that a stranger wrote reaches the page but through `escaped`; links are http and https alone. Nesting
is bounded, so hostile text costs what its length costs. Threading: pure.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

Names = Mapping[str, str]
"""What a mention stands for: {"@123": "Ada", "#456": "general"}."""

_DEPTH = 5

_TOKEN = re.compile(
    r"(?P<fence>```(?:[A-Za-z0-9_+-]*\n)?(?P<block>.+?)```)"
    r"|(?P<tick>`(?P<code>[^`\n]+)`)"
    r"|\\(?P<plain>[\\*_~|`<>#-])"
    r"|<(?P<mention>@[!&]?|\#)(?P<who>\d{1,20})>"
    r"|<a?:(?P<emoji>\w{1,32}):\d{1,20}>"
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


def rendered(text: str, names: Names, depth: int = 0) -> str:
    """HTML of a message's text."""
    if not _SPECIAL.search(text):
        return escaped(text)
    parts, position = [], 0
    for match in _TOKEN.finditer(text):
        parts.append(escaped(text[position : match.start()]))
        parts.append(_token(match, names, depth))
        position = match.end()
    parts.append(escaped(text[position:]))
    return "".join(parts)


def _token(match: re.Match[str], names: Names, depth: int) -> str:
    kind = match.lastgroup or ""
    inner = _INNER.get(kind)
    if kind in _WRAPS:
        opening, closing = _WRAPS[kind]
        body = match[kind]
        return opening + (rendered(body, names, depth + 1) if depth < _DEPTH else escaped(body)) + closing
    return inner(match, names) if inner else escaped(match[0])


def _mention(match: re.Match[str], names: Names) -> str:
    sign = match["mention"][0]
    name = names.get(f"{sign}{match['who']}", match["who"])
    return f'<span class="mention">{sign}<bdi>{escaped(name)}</bdi></span>'


def _time(match: re.Match[str], _names: Names) -> str:
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


_INNER: dict[str, Callable[[re.Match[str], Names], str]] = {
    "fence": lambda match, _: f"<pre>{escaped(match['block'])}</pre>",
    "tick": lambda match, _: f"<code>{escaped(match['code'])}</code>",
    "plain": lambda match, _: escaped(match["plain"]),
    "who": _mention,
    "emoji": lambda match, _: f'<span class="emoji">:{escaped(match["emoji"])}:</span>',
    "time": _time,
    "link": lambda match, _: link(match["link"], match["link"]),
    "target": lambda match, _: link(match["target"], match["label"]),
}
