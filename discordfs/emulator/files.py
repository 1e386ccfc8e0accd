"""The folder of attachment bytes: received into `incoming/`, then moved to a place named by the
attachment's id.

A file is in place before the database names it, and is removed after the database forgot it; what a crash
leaves between the two is swept at the start. Threading: every method may run in any thread; no state but
the paths.
"""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file, not yet part of a message."""

    path: Path
    filename: str  # as the client named it
    size: int
    content_type: str | None


class Files:
    """Paths of attachments, and the moves between them."""

    def __init__(self, directory: Path) -> None:
        self._incoming = directory / "incoming"
        self._kept = directory / "attachments"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._kept.mkdir(exist_ok=True)

    def new_incoming(self) -> Path:
        """A fresh name to receive into."""
        return self._incoming / uuid.uuid4().hex

    def path(self, attachment_id: int) -> Path:
        """Where this attachment's bytes lie."""
        return self._kept / f"{(attachment_id >> 22) % 256:02x}" / str(attachment_id)

    def keep(self, upload: Path, attachment_id: int) -> None:
        """Moves a received file to its place."""
        place = self.path(attachment_id)
        place.parent.mkdir(exist_ok=True)
        upload.rename(place)

    def copy(self, attachment_id: int, new_id: int) -> None:
        """The same bytes under another attachment's id; nothing if they are gone."""
        place = self.path(new_id)
        place.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(self.path(attachment_id), place)

    def remove(self, attachment_ids: Iterable[int]) -> None:
        """Deletes bytes; readers in the middle of them may finish."""
        for attachment_id in attachment_ids:
            self.path(attachment_id).unlink(missing_ok=True)

    def sweep(self, known: set[int]) -> None:
        """Removes what a crash left behind: all of incoming, and files that no message has."""
        shutil.rmtree(self._incoming)
        self._incoming.mkdir()
        for path in self._kept.glob("*/*"):
            if not path.name.isdigit() or int(path.name) not in known:
                path.unlink()


def discard(uploads: Iterable[Upload]) -> None:
    """Forgets received files, those already moved aside."""
    for upload in uploads:
        upload.path.unlink(missing_ok=True)
