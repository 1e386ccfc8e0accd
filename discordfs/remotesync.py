"""The mount option fsync=remote: fsync returns once Discord has the bytes, and a record names them.

Errors: TimedOut (EIO) after PATIENCE_S, with everything still staged; Interrupted; ReadOnly when another
machine has taken the volume over. Threading: as the drive; the wait holds no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from discordfs.errors import Interrupted, ReadOnly, TimedOut
from discordfs.fs import Drive
from discordfs.log import Lost
from discordfs.model import QueueStatus
from discordfs.uploader import Uploader

PATIENCE_S = 600.0
"""Seconds that an fsync waits in an outage before it is EIO; the data stays staged and goes out later."""


class RemoteSyncDrive(Drive):
    """A Drive whose fsync is a barrier too."""

    def __init__(self, *, uploader: Uploader, cancelled: Callable[[], bool], **parts: Any) -> None:
        super().__init__(uploader=uploader, cancelled=cancelled, **parts)
        self._queue = uploader
        self._gone = cancelled

    def fsync(self, handle: int, datasync: bool) -> None:
        super().fsync(handle, datasync)
        self._await_remote()

    def fsyncdir(self, path: bytes) -> None:
        super().fsyncdir(path)
        self._await_remote()

    def _await_remote(self) -> None:
        try:
            is_there = self._queue.barrier(PATIENCE_S, self._check)
        except Lost as error:
            raise ReadOnly(str(error)) from error
        if not is_there:
            raise TimedOut(f"Discord did not take the bytes within {PATIENCE_S:g} s; they stay staged")

    def _check(self, _status: QueueStatus) -> None:
        if self._gone():
            raise Interrupted("the caller of fsync went away")
