"""Where clips are in a state directory, and the lock of whoever collects there. Threading: values are frozen;
a lock belongs to whoever made it."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from discordfs.errors import BusyError

_FLOCK = "hhqqi4x"
_WHOLE_FILE = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""struct flock of Linux, 64 bits: a write lock of an open file description, from start to end."""


@dataclass(frozen=True, slots=True)
class ClipsDirectory:
    """The paths of <state directory>/clips; making one touches nothing."""

    path: Path

    @property
    def catalogue(self) -> Path:
        return self.path / "catalogue.sqlite"

    @property
    def thumbs(self) -> Path:
        return self.path / "thumb"

    @property
    def icons(self) -> Path:
        return self.path / "icons"

    @property
    def workers(self) -> Path:
        return self.path / "workers.json"

    @property
    def log(self) -> Path:
        return self.path / "clips.log"

    @property
    def lock(self) -> Path:
        return self.path / "clips.lock"

    def is_held(self) -> bool:
        """Whether a process works here now. Asking takes no lock, so it is in nobody's way."""
        try:
            with open(self.lock, "rb") as file:
                found = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _WHOLE_FILE)
        except FileNotFoundError:
            return False
        is_free: bool = struct.unpack(_FLOCK, found)[0] == fcntl.F_UNLCK
        return not is_free

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process works here at a time; the kernel drops the lock when it dies. Raises BusyError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.lock, "ab") as file:
            try:
                fcntl.fcntl(file, fcntl.F_OFD_SETLK, _WHOLE_FILE)
            except OSError:
                raise BusyError(
                    f"another 'discordfs clips' works in {self.path}: wait until it ends, or end it"
                ) from None
            yield
