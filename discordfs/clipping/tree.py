"""clips/ as a read-only tree: <server>/<channel>/<clip>, by-poster/ (links to them), thumbs/, posters/,
catalogue.jsonl (the predecessor's records) and index.html (the gallery, with gallery/).

Clips are read of Discord as they are played, through the block cache; looking at names, sizes and times asks
nobody. What is made of the whole catalogue is made when it is asked for, on the local disk. A clip that turns
out to be deleted leaves its folder at once, for GONE_S seconds: then it is asked for again, as a content
network that refuses everything for a while looks the same; `clips sync` tells deletions for good.
Modes are 0444 and 0555, the owner is whoever runs the mount; a clip's time is that of its post, and
directories have that of the catalogue.
Errors: NoEntry, NotADirectory, IsADirectory, InvalidArgument, BadHandle, those of reading clips;
sqlite3.Error and OSErrors of the local disk as they come. `has_content` has none.
Threading: any; see listing.py and shelf.py. Single dictionary operations guard the open files.
"""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from discordfs.clipping import gallery
from discordfs.clipping.blocks import Place
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.derived import Derived
from discordfs.clipping.exporting import records
from discordfs.clipping.kept import KeptCopy, KeptPlace, open_kept
from discordfs.clipping.listing import DIRECTORIES, Entry, Kind, Listing, Listings, Owner
from discordfs.clipping.model import Poster
from discordfs.clipping.naming import Names
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.reader import ClipReader, Playing
from discordfs.clipping.shelf import NOTHING, ClipRow, Shelf
from discordfs.errors import (
    BadHandle,
    InvalidArgument,
    IsADirectory,
    NoEntry,
    NotADirectory,
    RemoteGone,
)
from discordfs.model import Attr, DirEntry, Opened

GONE_S = 600.0
"""Seconds that a clip stays away after Discord said that it is deleted."""

_BY_POSTER, _THUMBS, _POSTERS, _GALLERY = b"by-poster", b"thumbs", b"posters", b"gallery"
_RECORDS, _INDEX = "catalogue.jsonl", "index.html"
_UNINDEXED = b".nomedia"
"""Where this lies, GNOME's indexer and Android's look at nothing: they would fetch a part of each clip."""

_PNG, _JSON = ".png", ".json"

Parts = tuple[bytes, ...]


class _Open(Protocol):
    """An open file."""

    def read(self, size: int, offset: int) -> bytes: ...
    def attr(self) -> Attr: ...
    def close(self) -> None: ...


class ClipsTree:
    """model.ReadOnlyTree over the catalogue of `directory`, which need not be there yet. `kept`: where copies
    of videos may be, played instead of asking Discord. `monotonic`: seconds."""

    def __init__(
        self,
        directory: ClipsDirectory,
        reader: ClipReader,
        kept: Sequence[KeptPlace],
        owner: Owner,
        monotonic: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._reader = reader
        self._kept = kept
        self._owner = owner
        self._monotonic = monotonic
        self._shelf = Shelf(directory.catalogue, monotonic)
        self._derived = Derived(directory.path / "derived")
        self._listings = Listings(monotonic)
        self._gone: dict[int, float] = {}
        self._turns = 0
        self._files: dict[int, _Open] = {}
        self._numbers = itertools.count(1)

    def close(self) -> None:
        self._shelf.close()

    @property
    def has_content(self) -> bool:
        if self._shelf.version() == NOTHING:
            return False
        try:
            return bool(self._listing(()))
        except sqlite3.Error as error:
            self._shelf.complain(error)
            return False

    # --- looking ---------------------------------------------------------------------------------------

    def getattr(self, path: bytes) -> Attr:
        return self._attr(self._entry(_parts(path)), path)

    def readdir(self, path: bytes) -> list[DirEntry]:
        listing = self._listing(self._directory_parts(path))
        return [DirEntry(name, entry.ino, entry.mode) for name, entry in listing.items()]

    def readlink(self, path: bytes) -> bytes:
        entry = self._entry(_parts(path))
        if entry.kind is not Kind.LINK:
            raise InvalidArgument(f"{os.fsdecode(path)} is no symbolic link")
        return entry.data

    def _attr(self, entry: Entry, path: bytes) -> Attr:
        if entry.kind in DIRECTORIES:
            return self._owner.attr(entry, 0, self._shelf.changed_ns)
        if entry.kind is Kind.CLIP:
            return self._owner.attr(entry, entry.size, entry.mtime_ns)
        local = self._local(entry)
        if local is None:
            return self._owner.attr(entry, len(entry.data), entry.mtime_ns or self._shelf.changed_ns)
        try:
            found = local.lstat()
        except FileNotFoundError:
            raise NoEntry(os.fsdecode(path)) from None
        return self._owner.attr(entry, found.st_size, found.st_mtime_ns)

    # --- reading ---------------------------------------------------------------------------------------

    def open(self, path: bytes) -> Opened:
        """Clips that are read of Discord are read directly: the kernel's own reading ahead would fetch half
        as much again at each jump in a video."""
        opened = self._opened(self._entry(_parts(path)), path)
        number = next(self._numbers)
        self._files[number] = opened
        return Opened(number, direct=isinstance(opened, _Clip))

    def fgetattr(self, handle: int) -> Attr:
        return self._file(handle).attr()

    def read(self, handle: int, size: int, offset: int) -> bytes:
        return self._file(handle).read(size, offset)

    def release(self, handle: int) -> None:
        opened = self._files.pop(handle, None)
        if opened is not None:
            opened.close()

    def _file(self, handle: int) -> _Open:
        try:
            return self._files[handle]
        except KeyError:
            raise BadHandle(f"handle {handle} is not open") from None

    def _opened(self, entry: Entry, path: bytes) -> _Open:
        if entry.kind in DIRECTORIES:
            raise IsADirectory(os.fsdecode(path))
        if entry.kind is Kind.CLIP:
            return self._opened_clip(entry, path)
        local = self._local(entry)
        if local is not None:
            return _LocalFile(entry, local, self._owner, path)
        return _Text(self._attr(entry, path), entry.data)

    def _opened_clip(self, entry: Entry, path: bytes) -> _Open:
        clip = self._shelf.clip(entry.id)
        if clip is None or clip.size != entry.size:
            raise NoEntry(os.fsdecode(path))
        attr = self._owner.attr(entry, entry.size, entry.mtime_ns)
        kept = open_kept(self._kept, clip)
        if kept is not None:
            return _Kept(kept, attr)
        place = Place(clip.id, clip.channel, clip.message, clip.size)
        return _Clip(Playing(self._reader, place), attr, partial(self._lost, clip.id))

    def _local(self, entry: Entry) -> Path | None:
        """Where a file's bytes lie on the local disk, if they do."""
        if entry.kind is Kind.MADE and entry.path is None:
            return self._listings.get(_RECORDS, self._version(), self._made_records)[b""].path
        return entry.path

    def _lost(self, clip: int) -> None:
        self._gone[clip] = self._monotonic() + GONE_S
        self._turns += 1

    def _forgive(self) -> None:
        """Those that have stayed away for long enough."""
        now = self._monotonic()
        for clip in [clip for clip, until in self._gone.copy().items() if until <= now]:
            self._gone.pop(clip, None)
            self._turns += 1

    # --- what a path stands for --------------------------------------------------------------------------

    def _entry(self, parts: Parts) -> Entry:
        if not parts:
            below = sum(entry.kind in DIRECTORIES for entry in self._listing(()).values())
            return Entry(Kind.TOP, 0, nlink=2 + below)
        entry = self._listing(parts[:-1]).get(parts[-1])
        if entry is None or (entry.kind is Kind.CLIP and entry.id in self._gone):
            raise NoEntry(os.fsdecode(b"/".join(parts)))
        return entry

    def _directory_parts(self, path: bytes) -> Parts:
        parts = _parts(path)
        if self._entry(parts).kind not in DIRECTORIES:
            raise NotADirectory(os.fsdecode(path))
        return parts

    def _listing(self, parts: Parts) -> Listing:
        return self._listings.get(parts, self._version(), partial(self._listed, parts))

    def _version(self) -> Hashable:
        if self._gone:
            self._forgive()
        return self._shelf.version(), self._turns

    def _listed(self, parts: Parts) -> Listing:
        """Raises NoEntry, NotADirectory."""
        if not parts:
            return self._root()
        entry = self._entry(parts)
        match entry.kind:
            case Kind.GUILD:
                return self._guild(entry.id)
            case Kind.PLACE:
                return self._place(entry.id)
            case Kind.POSTER:
                return self._poster(entry.id)
            case Kind.TOP:
                return _FIXED[parts[0]](self)
            case _:
                raise NotADirectory(os.fsdecode(b"/".join(parts)))

    # --- the directories -----------------------------------------------------------------------------------

    def _root(self) -> Listing:
        guilds = self._shelf.guilds()
        if not guilds:
            return {}
        listing = {
            name.encode(): Entry(Kind.GUILD, id_, nlink=2 + len(self._shelf.places(id_)))
            for id_, name in guilds
        }
        for number, name in enumerate(_FIXED, start=1):
            below = len(self._shelf.posters()) if name == _BY_POSTER else 0
            listing[name] = Entry(Kind.TOP, number, nlink=2 + below)
        listing[_RECORDS.encode()] = Entry(Kind.MADE, 0)
        listing[_INDEX.encode()] = Entry(Kind.PAGE, 0, data=gallery.page(_INDEX))
        listing[_UNINDEXED] = Entry(Kind.PAGE, _hashed(os.fsdecode(_UNINDEXED)))
        return listing

    def _guild(self, guild: int) -> Listing:
        return {name.encode(): Entry(Kind.PLACE, id_, nlink=2) for id_, name in self._shelf.places(guild)}

    def _place(self, channel: int) -> Listing:
        rows = self._shelf.clips(channel)
        return {
            row.name.encode(): Entry(Kind.CLIP, row.id, row.size, row.posted_ns)
            for row in rows
            if row.id not in self._gone
        }

    def _by_poster(self) -> Listing:
        return {
            name.encode(): Entry(Kind.POSTER, poster.id, nlink=2) for poster, name in self._shelf.posters()
        }

    def _poster(self, poster: int) -> Listing:
        listing: Listing = {}
        taken: set[str] = set()
        names = Names(lambda name: name.lower() in taken)
        for row in self._shelf.clips_by(poster):
            if row.id in self._gone:
                continue
            name = names.free(row.name, row.id)
            taken.add(name.lower())
            listing[name.encode()] = Entry(Kind.LINK, row.id, mtime_ns=row.posted_ns, data=_link(row))
        return listing

    def _thumbs(self) -> Listing:
        shown = set(self._shelf.ids())
        return {
            os.fsencode(path.name): Entry(Kind.THUMB, id_, path=path)
            for id_, path in _pictures(self._directory.thumbs)
            if id_ in shown
        }

    def _posters(self) -> Listing:
        icons = dict(_pictures(self._directory.icons))
        listing: Listing = {}
        for poster, name in self._shelf.posters():
            card = _card(poster, name if poster.id in icons else "")
            listing[f"{name}{_JSON}".encode()] = Entry(Kind.CARD, poster.id, data=card)
            if poster.id in icons:
                listing[f"{name}{_PNG}".encode()] = Entry(Kind.ICON, poster.id, path=icons[poster.id])
        return listing

    # --- what is made of the whole catalogue -------------------------------------------------------------

    def _gallery(self) -> Listing:
        pages = [name.partition("/")[2] for name in gallery.PAGES if "/" in name]
        listing = {
            name.encode(): Entry(Kind.PAGE, _hashed(name), data=gallery.page(f"gallery/{name}"))
            for name in pages
        }
        made = self._derived.make("gallery", self._write_gallery)
        for path in sorted(made.iterdir()):
            listing[os.fsencode(path.name)] = Entry(Kind.MADE, _hashed(path.name), path=path)
        return listing

    def _write_gallery(self, directory: Path) -> None:
        icons = frozenset(id_ for id_, _ in _pictures(self._directory.icons))
        with self._catalogue() as known:
            gallery.write_data(directory, known, icons)

    def _made_records(self) -> Listing:
        """The one file, under no name."""
        made = self._derived.make("records", self._write_records)
        return {b"": Entry(Kind.MADE, 0, path=made / _RECORDS)}

    def _write_records(self, directory: Path) -> None:
        with self._catalogue() as known, (directory / _RECORDS).open("w", encoding="ascii") as file:
            for _, line in records(known):
                file.write(f"{line}\n")

    @contextmanager
    def _catalogue(self) -> Iterator[Catalogue]:
        """For one making: its connection goes with it, whatever thread that is."""
        opened = Catalogue(self._directory.catalogue, is_reader=True)
        try:
            yield opened
        finally:
            opened.close()


_FIXED: dict[bytes, Callable[[ClipsTree], Listing]] = {
    _BY_POSTER: lambda tree: tree._by_poster(),
    _THUMBS: lambda tree: tree._thumbs(),
    _POSTERS: lambda tree: tree._posters(),
    _GALLERY: lambda tree: tree._gallery(),
}


def _parts(path: bytes) -> Parts:
    return tuple(part for part in path.split(b"/") if part)


def _hashed(name: str) -> int:
    """A number for a name, never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little") + 1


def _link(row: ClipRow) -> bytes:
    """From by-poster/<poster>/ to the clip."""
    return f"../../{row.guild}/{row.place}/{row.name}".encode()


def _pictures(directory: Path) -> Sequence[tuple[int, Path]]:
    """(id, path) of the pictures in a directory that need not be there; what is being written is none."""
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return ()
    stems = ((name.removesuffix(_PNG), name) for name in names if name.endswith(_PNG))
    return [(int(stem), directory / name) for stem, name in stems if stem.isascii() and stem.isdigit()]


def _card(poster: Poster, icon: str) -> bytes:
    body = {"id": str(poster.id), "name": poster.name, "display": poster.display}
    return json.dumps(body | ({"icon": f"{icon}{_PNG}"} if icon else {}), ensure_ascii=False).encode() + b"\n"


# --- open files ---------------------------------------------------------------------------------------------


class _Clip:
    """A clip that is read of Discord. `lost` is told when it turns out to be deleted."""

    __slots__ = ("_attr", "_lost", "_playing")

    def __init__(self, playing: Playing, attr: Attr, lost: Callable[[], None]) -> None:
        self._playing = playing
        self._attr = attr
        self._lost = lost

    def read(self, size: int, offset: int) -> bytes:
        try:
            return self._playing.read(size, offset)
        except RemoteGone:
            self._lost()
            raise

    def attr(self) -> Attr:
        return self._attr

    def close(self) -> None:
        """Nothing is held."""


class _Kept:
    """A clip of which a copy was kept."""

    __slots__ = ("_attr", "_copy")

    def __init__(self, copy: KeptCopy, attr: Attr) -> None:
        self._copy = copy
        self._attr = attr

    def read(self, size: int, offset: int) -> bytes:
        return self._copy.read(size, offset)

    def attr(self) -> Attr:
        return self._attr

    def close(self) -> None:
        self._copy.close()


class _LocalFile:
    """A file on the local disk, as it was when it was opened."""

    __slots__ = ("_descriptor", "_entry", "_owner")

    def __init__(self, entry: Entry, place: Path, owner: Owner, path: bytes) -> None:
        try:
            self._descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise NoEntry(os.fsdecode(path)) from None
        self._entry = entry
        self._owner = owner

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def attr(self) -> Attr:
        found = os.fstat(self._descriptor)
        return self._owner.attr(self._entry, found.st_size, self._entry.mtime_ns or found.st_mtime_ns)

    def close(self) -> None:
        os.close(self._descriptor)


class _Text:
    """A small file that is made as it is asked for."""

    __slots__ = ("_attr", "_data")

    def __init__(self, attr: Attr, data: bytes) -> None:
        self._attr = attr
        self._data = data

    def read(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def attr(self) -> Attr:
        return self._attr

    def close(self) -> None:
        """Nothing is held."""
