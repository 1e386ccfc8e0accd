"""Copies of videos that were kept, as they are played: kept/<sha256[:2]>/<sha256> in a local directory, on
the drive itself, or in a store.

A copy counts when it is there with the size it should have. Errors: those of the drive; OSErrors of the local
disk. Threading: any.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.keeping import kept_name
from discordfs.clipping.model import Clip
from discordfs.clipping.store import NOWHERE, Store
from discordfs.errors import ConfigError, IsADirectory, NoEntry, NotADirectory, Unavailable
from discordfs.model import Filesystem

_AT_ONCE = 1024**2


class KeptCopy(Protocol):
    """An open copy."""

    def read(self, size: int, offset: int) -> bytes: ...
    def close(self) -> None: ...


class KeptPlace(Protocol):
    """Where copies are kept."""

    def open(self, clip: Clip) -> KeptCopy | None:
        """None where there is none, or one of another size."""


def open_kept(places: Sequence[KeptPlace], clip: Clip) -> KeptCopy | None:
    """The first copy that there is."""
    if not clip.kept:
        return None
    return next((copy for place in places if (copy := place.open(clip)) is not None), None)


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A directory on the local disk."""

    directory: Path

    def open(self, clip: Clip) -> KeptCopy | None:
        try:
            descriptor = os.open(
                self.directory / kept_name(clip.kept), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        except (FileNotFoundError, NotADirectoryError):
            return None
        if os.fstat(descriptor).st_size == clip.size:
            return _LocalCopy(descriptor)
        os.close(descriptor)
        return None


@dataclass(frozen=True, slots=True)
class _LocalCopy:
    descriptor: int

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class DrivePlace:
    """A folder of the drive, by its path there."""

    drive: Filesystem
    folder: bytes

    def open(self, clip: Clip) -> KeptCopy | None:
        path = b"/".join([self.folder, os.fsencode(kept_name(clip.kept))])
        try:
            handle = self.drive.open(path, os.O_RDONLY).handle
        except (NoEntry, NotADirectory, IsADirectory):
            return None
        copy = _DriveCopy(self.drive, handle)
        if self.drive.fgetattr(handle).size == clip.size:
            return copy
        copy.close()
        return None


@dataclass(frozen=True, slots=True)
class _DriveCopy:
    drive: Filesystem
    handle: int

    def read(self, size: int, offset: int) -> bytes:
        return bytes(self.drive.read(self.handle, size, offset))

    def close(self) -> None:
        self.drive.release(self.handle)


class ChosenStore:
    """The store that the catalogue at `path` says videos are kept in, None: there is none; opened once."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path, self._environment = path, environment
        self._guard = threading.Lock()
        self._store: Store | None = None

    def __call__(self) -> Store | None:
        known = Catalogue(self._path, is_reader=True)
        try:
            url = known.setting("store") if known.setting("keep") == "store" else NOWHERE
        finally:
            known.close()
        if url in ("", NOWHERE):
            return None
        with self._guard:
            if self._store is None or self._store.url != url:
                self._store = Store(url, self._environment)
            return self._store


class StorePlace:
    """A store, opened when it is first needed. `find` answers the store that keeps videos now, None: none.

    Where it cannot be reached, clips that are still on Discord are played from there."""

    def __init__(self, find: Callable[[], Store | None]) -> None:
        self._find = find

    def open(self, clip: Clip) -> KeptCopy | None:
        try:
            store = self._find()
            if store is None or store.size(kept_name(clip.kept)) != clip.size:
                return None
        except (Unavailable, ConfigError):
            if clip.deleted_ns:
                raise
            return None
        return _StoreCopy(store, kept_name(clip.kept))


class _StoreCopy:
    """Reads a little more than is asked for: a store answers each request by itself. One reader at a time."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._start, self._data = 0, b""
        self._guard = threading.Lock()

    def read(self, size: int, offset: int) -> bytes:
        with self._guard:
            start, data = self._start, self._data
        if not start <= offset <= offset + size <= start + len(data):
            start, data = offset, self._store.read(self._name, offset, max(size, _AT_ONCE))
            with self._guard:
                self._start, self._data = start, data
        return data[offset - start : offset - start + size]

    def close(self) -> None:
        """Nothing is open."""
