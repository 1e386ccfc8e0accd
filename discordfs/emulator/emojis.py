"""Which emoji a path names: one of the guild's by `name:id`, or one of Unicode's. Threading: pure."""

from __future__ import annotations

import unicodedata

from .errors import ApiError
from .model import Reaction
from .world import World

_JOINERS = frozenset("\u200d\ufe0f\ufe0e\u20e3") | {chr(code) for code in range(0xE0020, 0xE0080)}
_SIGNS = frozenset("‼⁉↔↕↖↗↘↙↩↪⤴⤵〰〽")  # emojis that Unicode does not file under symbols
_KEYS = frozenset("0123456789#*")  # emojis with U+20E3 behind them
_BLOCK = range(0x1F000, 0x1FB00)
_SKINS, _FLAG_LETTERS = range(0x1F3FB, 0x1F400), range(0x1F1E6, 0x1F200)
_LONGEST = 16  # characters, of which a family with skin tones has many


def named(text: str, world: World, there: tuple[Reaction, ...] = ()) -> Reaction:
    """The emoji, without users; ApiError 10014 if there is none of that name.

    `there` are those under the message already: one of these may have left the guild since.
    """
    name, _, number = text.rpartition(":")
    key = number if name else text
    known = next((each for each in there if each.key == key), None)
    if known is not None:
        return Reaction(known.key, known.name, known.animated)
    emoji = world.emojis.get(key) if name else None
    if emoji is not None:
        return Reaction(str(emoji.id), emoji.name, emoji.animated)
    if name or not is_unicode(text):
        raise ApiError(400, 10014, "Unknown Emoji")
    return Reaction(text, text)


def is_unicode(text: str) -> bool:
    """Whether this is one emoji of Unicode's, as far as its characters say."""
    keycap = text.endswith("\u20e3")
    core = [each for each in text if each not in _JOINERS]
    return len(text) <= _LONGEST and _pictures(text) == 1 and all(_symbol(each, keycap) for each in core)


def _pictures(text: str) -> int:
    """How many pictures the characters come to: joined ones, skin tones and pairs of flag letters are one."""
    letters = sum(ord(each) in _FLAG_LETTERS for each in text)
    single = [
        each
        for before, each in zip("\0" + text, text, strict=False)
        if each not in _JOINERS and ord(each) not in _FLAG_LETTERS
        if before != "\u200d" and not (ord(each) in _SKINS and before != "\0")
    ]
    return len(single) + (letters + 1) // 2


def _symbol(one: str, keycap: bool) -> bool:
    if one in _KEYS:
        return keycap
    return one in _SIGNS or ord(one) in _BLOCK or unicodedata.category(one) == "So"
