"""Names in clips/: what a clip, a channel, a server and a poster are called there, harmless and distinct.

Two that would be alike (also but for case, for disks that do not tell) get the id behind the second. A name
is given once and kept by the catalogue. Threading: pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from discordfs.archived.names import clean, shortened, split_extension
from discordfs.clipping.model import Clip, Poster
from discordfs.model import NAME_MAX

TOP = frozenset({"by-poster", "thumbs", "posters", "catalogue.jsonl", "index.html", "gallery"})
"""What clips/ has beside its servers."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOR_ID = 24
"""Bytes that an id takes behind a name: a space, parentheses, at most 20 digits."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one directory, of which `is_taken` tells. `is_top`: clips/ itself."""

    is_taken: Callable[[str], bool]
    is_top: bool = False

    def free(self, name: str, id_: int) -> str:
        """`name`, or with the id behind it where another one has it."""
        if not self.is_taken(name) and not (self.is_top and name.lower() in TOP):
            return name
        stem, extension = split_extension(name)
        return f"{stem} ({id_}){extension}"


def clip_name(clip: Clip, poster: Poster) -> str:
    """ "2024-10-04 ada - help.mp4". The extension is the file's own."""
    day = (_EPOCH + timedelta(microseconds=clip.posted_ns // 1000)).strftime("%Y-%m-%d")
    stem, extension = split_extension(clean(clip.filename))
    room = NAME_MAX - _FOR_ID - len(extension.encode())
    return shortened(f"{day} {clean(poster.name)} - {stem}", room) + extension


def directory_name(name: str) -> str:
    """Of a server, channel or poster."""
    return shortened(clean(name), NAME_MAX - _FOR_ID)
