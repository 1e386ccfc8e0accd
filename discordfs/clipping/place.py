"""Where clips are in a state directory, and the lock of whoever collects there. Threading: values are frozen;
a lock belongs to whoever made it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from discordfs.errors import BusyError


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
    def lock(self) -> Path:
        return self.path / "clips.lock"

    def is_held(self) -> bool:
        """Whether a process works here now."""
        try:
            with open(self.lock, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process works here at a time; the kernel drops the lock when it dies. Raises BusyError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.lock, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BusyError(
                    f"another 'discordfs clips' works in {self.path}: wait until it ends, or end it"
                ) from None
            yield
