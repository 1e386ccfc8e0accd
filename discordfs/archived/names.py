"""Names of files and directories made of names that strangers chose. The only place that does so.

What comes out is a name on any disk: no "/", no NUL or other control character, no mark that turns the
direction of writing or hides itself, no dot at its start (it would be hidden), no dot or space at its end, no
name of a Windows device, at most NAME_MAX bytes of UTF-8. The id is always whole, so names that are alike
stay distinct. Threading: pure.
"""

from __future__ import annotations

import re
import unicodedata

from discordfs.model import NAME_MAX

DIRECT_MESSAGES = "Direct messages"
RUNS = "runs"
"""The two names in archive/ that no server can have: a server's ends in its id."""

_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}) | {
    f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"
}
_BAD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,16}$")
_EDGES = re.compile(r"^\s+|[\s.]+$")
_ID_AT_END = re.compile(r" \((\d+)\)$")


def named(name: str, number: int) -> str:
    """Of a server, channel or thread: "general (123)"."""
    ending = f" ({number})"
    return shortened(clean(name), NAME_MAX - len(ending)) + ending


def number_of(directory: str) -> int | None:
    """The id in a name that `named` made."""
    match = _ID_AT_END.search(directory)
    return int(match[1]) if match else None


def file_named(name: str, number: int) -> str:
    """Of an attachment: "123-holiday.jpg". Its extension stays."""
    start = f"{number}-"
    stem, ending = split_extension(clean(name))
    return start + shortened(stem, NAME_MAX - len(start) - len(ending)) + ending


def media_named(key: str, name: str) -> str:
    """Of a file that the media store has under this key: "123-holiday.jpg" of an attachment, else
    "emoji-123.png"."""
    kind, _, rest = key.partition(":")
    if kind == "attachment":
        return file_named(name, int(rest))
    match = _EXTENSION.search(clean(name))
    return clean(f"{kind}-{rest.replace(':', '-')}") + (match[0] if match else "")


def clean(name: str) -> str:
    """A name that is harmless by itself, "_" at least; it may be too long."""
    letters = "".join("_" if _is_bad(letter) else letter for letter in name)
    letters = _EDGES.sub("", letters)
    bare = letters.lstrip(".")
    letters = "_" * (len(letters) - len(bare)) + bare
    if letters.partition(".")[0].rstrip().upper() in _DEVICES:
        letters = f"_{letters}"
    return letters or "_"


def split_extension(name: str) -> tuple[str, str]:
    """("holiday", ".jpg"); the second is empty without one."""
    match = _EXTENSION.search(name)
    ending = match[0] if match else ""
    return name[: len(name) - len(ending)], ending


def _is_bad(letter: str) -> bool:
    if letter == "\u200d":  # joins emoji to one
        return False
    return letter == "/" or unicodedata.category(letter) in _BAD_CATEGORIES


def shortened(text: str, size: int) -> str:
    """At most `size` bytes of it, at the border of a character."""
    data = text.encode("utf-8")
    if len(data) <= size:
        return text
    return _EDGES.sub("", data[:size].decode("utf-8", "ignore")) or "_"
