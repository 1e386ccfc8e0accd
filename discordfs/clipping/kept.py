"""Copies of videos that were kept, as they are played: kept/<sha256[:2]>/<sha256> in a local directory, or on
the drive itself.

A copy counts when it is there with the size it should have. Errors: those of the drive; OSErrors of the local
disk. Threading: any.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from discordfs.clipping.model import Clip
from discordfs.errors import IsADirectory, NoEntry, NotADirectory
from discordfs.model import Filesystem


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


def _name(clip: Clip) -> str:
    return f"kept/{clip.kept[:2]}/{clip.kept}"


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A directory on the local disk."""

    directory: Path

    def open(self, clip: Clip) -> KeptCopy | None:
        try:
            descriptor = os.open(self.directory / _name(clip), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
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
        path = b"/".join([self.folder, os.fsencode(_name(clip))])
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
