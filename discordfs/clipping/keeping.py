"""Keeps the videos themselves, by their contents: kept/<sha256[:2]>/<sha256>, so that a clip outlives its
message; and the catalogue, so that it outlives the machine.

A video counts as kept once the place has it whole and durably. The catalogue is the queue. Where the place
has a catalogue that is not the one that was put there last, what that one knows is merged in before it is
replaced: so whoever begins anew loses nothing of what was kept before. Where the place is the drive, files
lie in DRIVE in its root, put there through the mount; `bring_back` gets the catalogue and the thumbnails from
there.
Limits: a video is on this disk once while it is copied. Errors: those of Discord, the store and the disk.
Threading: `run` on a worker of its own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

from discordfs.archived.ondrive import copy_whole, exists, walk
from discordfs.clipping.backoff import Backoff, Rounds
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Clip
from discordfs.copying import Tree
from discordfs.disk import make_directory, remove_drafts, remove_journals, sync_directory, whole_file
from discordfs.errors import (
    BadRequest,
    Forbidden,
    RemoteGone,
    Unavailable,
)
from discordfs.localtree import LocalTree
from discordfs.model import Caller, Clock

DRIVE = ".clips"
"""Where the drive has kept clips, in its root."""

CATALOGUE = "catalogue.sqlite"
CATALOGUE_EVERY_NS = 600 * 10**9
"""How often a catalogue of up to CATALOGUE_SIZE bytes is kept while clips are collected, a larger one less
often the larger it is; and once more at the end."""

CATALOGUE_SIZE = 4 * 1024**2

_PUT = "put"  # the setting that says which version was put into the place last, and the stamp it has there
_OTHER = "other.sqlite"
_STEP = 4 * 1024**2
_BATCH = 20
_TURN_S = 5.0
_log = logging.getLogger(__name__)

Read = Callable[[int, int, int, int, int], bytes]
"""(channel, message, attachment, start, length) -> exactly these bytes, or an error: MessageStore.read."""


class Place(Protocol):
    """Where things are kept: store.Store, or a folder on the drive."""

    def put_file(self, name: str, source: Path) -> None: ...
    def get_file(self, name: str, target: Path) -> None: ...
    def size(self, name: str) -> int | None: ...
    def stamp(self, name: str) -> str: ...
    def is_directory(self, path: Path) -> bool: ...


def kept_name(sha256: str) -> str:
    """Of a video, below the place."""
    return f"kept/{sha256[:2]}/{sha256}"


class OnDrive:
    """The folder on the drive that is mounted at what `mountpoint` answers, None: nowhere for now."""

    def __init__(self, mountpoint: Callable[[], Path | None]) -> None:
        self._mountpoint = mountpoint
        self._is_swept = False

    def _folder(self) -> Path:
        place = self._mountpoint()
        if place is None:
            raise Unavailable("the drive is not mounted: clips are kept there once it is")
        return place / DRIVE

    def put_file(self, name: str, source: Path) -> None:
        """In the drive's own safety: closed and synced when this returns, and on its way to Discord."""
        folder = self._folder()
        path = folder / name
        try:
            self._sweep(folder)
            with source.open("rb") as old, whole_file(path) as file:
                shutil.copyfileobj(old, file)
        except OSError as error:
            raise Unavailable(f"{path} could not be written: {error.strerror}") from error

    def get_file(self, name: str, target: Path) -> None:
        path = self._folder() / name
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise Unavailable(f"{path} could not be copied: {error.strerror}") from error

    def is_directory(self, path: Path) -> bool:
        """Never this one: the state directory does not lie on the drive."""
        return False

    def _sweep(self, folder: Path) -> None:
        """What a keeper that was killed left half made; there is one at a time."""
        if not self._is_swept:
            remove_drafts(folder)
            self._is_swept = True

    def size(self, name: str) -> int | None:
        found = self._stat(name)
        return None if found is None else found.st_size

    def stamp(self, name: str) -> str:
        found = self._stat(name)
        return "" if found is None else f"{found.st_size} {found.st_mtime_ns}"

    def _stat(self, name: str) -> os.stat_result | None:
        try:
            return (self._folder() / name).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{name} on the drive: {error.strerror}") from error


class Keeper:
    """Keeps clips that have been looked at, from `read` into `place`. `folder`: the catalogue's own, for what
    is on its way, and with the thumbnails; it may be the place itself, which has the catalogue then. `told`
    hears what goes wrong, "" once it goes well."""

    def __init__(
        self,
        catalogue: Catalogue,
        place: Place,
        read: Read,
        folder: Path,
        clock: Clock,
        told: Callable[[str], None] = lambda text: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._catalogue, self._place, self._read, self._folder = catalogue, place, read, folder
        self._clock, self._backoff = clock, backoff or Backoff()
        self._rounds = Rounds("clips are not kept for now", _TURN_S, told, self._backoff)
        self._refused: set[int] = set()
        self._after = 0
        self._next_ns = 0
        make_directory(folder / "keeping")
        for left in (folder / "keeping").iterdir():
            left.unlink()

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; the catalogue is kept once more then."""
        self._rounds.run(stop, partial(self._keep_all, stop))

    def _keep_all(self, stop: threading.Event) -> None:
        while not stop.is_set() and self.step(stop):
            pass
        if stop.is_set() or self._clock() >= self._next_ns:
            size = self.keep_catalogue()
            self._next_ns = self._clock() + CATALOGUE_EVERY_NS * max(CATALOGUE_SIZE, size) // CATALOGUE_SIZE

    def is_idle(self) -> bool:
        """Whether all was tried that there is to keep, or nothing can be kept for now."""
        left = self._catalogue.unkept(0, len(self._refused) + 1)
        return bool(self._backoff.failures) or all(clip.id in self._refused for clip in left)

    def step(self, stop: threading.Event | None = None) -> int:
        """Keeps a batch; how many clips it looked at. What one clip has wrong stops no other. Raises what is
        wrong for now."""
        clips = self._catalogue.unkept(self._after, _BATCH)
        for clip in clips:
            if stop is not None and stop.is_set():
                return 0
            self._keep(clip)
            self._after = clip.id
        if not clips:
            self._after = 0
        return len(clips)

    def keep_catalogue(self) -> int:
        """The catalogue as it is now, if it has changed since; how many bytes went. Raises FormatError when
        the place has one of a newer release."""
        if self._place.is_directory(self._folder):
            return 0
        version, stamp = self._catalogue.setting(_PUT).partition(" ")[::2]
        there = self._place.stamp(CATALOGUE)
        if there and there == stamp and version == str(self._catalogue.version()):
            return 0
        if there and there != stamp:
            self._take_in_other()
        version, draft = str(self._catalogue.version()), self._folder / "keeping" / CATALOGUE
        try:
            draft.unlink(missing_ok=True)
            self._catalogue.backup(draft)
            size = draft.stat().st_size
            self._place.put_file(CATALOGUE, draft)
        finally:
            draft.unlink(missing_ok=True)
        self._catalogue.set(_PUT, f"{version} {self._place.stamp(CATALOGUE)}")
        return size

    def _take_in_other(self) -> None:
        """What the catalogue knows that the place has: another one than was put there last."""
        draft = self._folder / "keeping" / _OTHER
        try:
            self._place.get_file(CATALOGUE, draft)
            with closing(Catalogue(draft)) as other:
                self._catalogue.take_in(other)
        finally:
            for left in draft.parent.glob(f"{_OTHER}*"):
                left.unlink()

    def _keep(self, clip: Clip) -> None:
        draft = self._folder / "keeping" / str(clip.id)
        try:
            sha256 = self._download(clip, draft)
            name = kept_name(sha256)
            if self._place.size(name) != clip.size:
                self._place.put_file(name, draft)
            if self._place.size(name) != clip.size:
                raise Unavailable(f"the kept copy of clip {clip.id} has not the size it should have")
            self._keep_thumbnail(clip)
        except RemoteGone:
            self._catalogue.attachment_gone(clip.id, self._clock())
        except (Forbidden, BadRequest) as error:
            _log.warning("clip %d cannot be kept: %s", clip.id, error)
            self._refused.add(clip.id)
        else:
            self._catalogue.kept(clip.id, sha256)
        finally:
            draft.unlink(missing_ok=True)

    def _download(self, clip: Clip, draft: Path) -> str:
        """Exactly the clip's bytes into the file `draft`; their SHA-256."""
        digest = hashlib.sha256()
        try:
            with draft.open("wb") as file:
                for start in range(0, clip.size, _STEP):
                    length = min(_STEP, clip.size - start)
                    data = self._read(clip.channel, clip.message, clip.id, start, length)
                    digest.update(data)
                    file.write(data)
        except OSError as error:
            raise Unavailable(f"no room for clip {clip.id}: {error.strerror}") from error
        return digest.hexdigest()

    def _keep_thumbnail(self, clip: Clip) -> None:
        name = f"thumb/{clip.id}.png"
        source = self._folder / name
        if source.exists() and self._place.size(name) is None:
            self._place.put_file(name, source)


def bring_back(drive: Tree, folder: Path) -> int:
    """The catalogue and thumbnails that the drive keeps, into `folder`, where there is no catalogue yet; how
    many files. The videos stay on the drive and are played from there."""
    root = b"/" + os.fsencode(DRIVE)
    if (folder / CATALOGUE).exists() or not exists(drive, root + b"/" + os.fsencode(CATALOGUE)):
        return 0
    make_directory(folder)
    remove_journals(folder / CATALOGUE)
    local, me, count = LocalTree(folder), Caller(os.geteuid(), os.getegid()), 0
    thumbs = root + b"/thumb"
    entries = list(walk(drive, thumbs)) if exists(drive, thumbs) else []
    for path, is_folder in [*entries, (root + b"/" + os.fsencode(CATALOGUE), False)]:
        place = path.removeprefix(root)
        if is_folder:
            make_directory(folder / os.fsdecode(place[1:]))
        elif not exists(local, place):
            copy_whole(drive, path, local, place, me)
            count += 1
    sync_directory(folder)
    return count
