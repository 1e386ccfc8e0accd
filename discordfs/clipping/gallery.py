"""The gallery's data: what clips/index.html needs to know of all clips, as scripts that it loads.

Scripts, because a page that is opened from a folder may load those and nothing else. data.js says what there
is, data-<n>.js has CHUNK clips, the oldest in data-0.js; all of it is ASCII, and data to the page: it sets
text, never markup. The page itself (gallery.html, .css, .js) comes with this package.
Limits: CHUNK clips in memory, and the names of all posters and channels. Errors: OSError, sqlite3.Error.
Threading: pure, but for the files that are written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from discordfs.clipping.catalogue import Catalogue, Named
from discordfs.clipping.model import Look

CHUNK = 2_000
"""Clips of one file: some 300 KB."""

PAGES = {
    "index.html": "gallery.html",
    "gallery/gallery.css": "gallery.css",
    "gallery/gallery.js": "gallery.js",
}
"""Files of the tree, and of this package."""

_THUMB, _FORWARDED, _DELETED, _UNREADABLE = 1, 2, 4, 8


@dataclass(slots=True)
class _Known:
    """Posters and places by the order in which they were met."""

    posters: dict[tuple[int, str], int] = field(default_factory=dict)
    places: dict[tuple[str, str], int] = field(default_factory=dict)

    def row(self, named: Named) -> list[Any]:
        """Of one clip, in the order that gallery.js reads."""
        clip, facts = named.clip, named.clip.facts
        poster = self.posters.setdefault((clip.poster, named.poster), len(self.posters))
        place = self.places.setdefault((named.guild, named.channel), len(self.places))
        flags = _THUMB * (clip.look is Look.DONE) | _FORWARDED * clip.is_forwarded
        flags |= _DELETED * bool(clip.deleted_ns) | _UNREADABLE * (clip.look is Look.FAILED)
        moment, runtime = clip.posted_ns // 1_000_000_000, round(facts.runtime or 0, 2)
        said = (clip.filename, clip.description, clip.size, runtime, facts.width or 0, facts.height or 0)
        return [str(clip.id), place, poster, moment, named.name, *said, flags]


def page(name: str) -> bytes:
    """A file of PAGES, as it is."""
    return files("discordfs.clipping").joinpath(PAGES[name]).read_bytes()


def write_data(directory: Path, catalogue: Catalogue, with_icon: frozenset[int]) -> None:
    """data.js and data-<n>.js into `directory`. `with_icon`: posters who have a picture."""
    known, count, chunks = _Known(), 0, 0
    clips = map(known.row, catalogue.clips())
    while rows := list(islice(clips, CHUNK)):
        _write(directory / f"data-{chunks}.js", "clips", [chunks, rows])
        count, chunks = count + len(rows), chunks + 1
    posters = [_poster(catalogue, id_, name, id_ in with_icon) for id_, name in known.posters]
    places = [[guild, channel, f"{quote(guild)}/{quote(channel)}/"] for guild, channel in known.places]
    body = {"count": count, "chunks": chunks, "posters": posters, "places": places}
    _write(directory / "data.js", "gallery", [body])


def _poster(catalogue: Catalogue, id_: int, name: str, has_icon: bool) -> list[str]:
    found = catalogue.poster(id_)
    display = (found.display if found else "") or name
    return [name, display, f"posters/{quote(name)}.png" if has_icon else ""]


def _write(path: Path, function: str, arguments: list[Any]) -> None:
    """A call of a function of the page's."""
    text = ",\n".join(json.dumps(each, separators=(",", ":")) for each in arguments)
    path.write_text(f"{function}({text});\n", encoding="ascii")
