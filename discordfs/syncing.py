"""When the index goes to disk without anybody asking.

Job: a sync at least every half minute while there is something to sync, as any filesystem of this machine
does, and at once when staging is short of room that only a sync gives back. That bounds what a power cut can
undo, what the first start after it has to compare, and how long dead segments lie about. Limits: nobody waits
for it; whoever wants certainty calls fsync. Threading: one thread, which holds no lock while it syncs.
"""

from __future__ import annotations

import logging
import sqlite3
import threading

from discordfs.errors import DiscordfsError
from discordfs.index import Index

log = logging.getLogger(__name__)

INTERVAL_S = 30.0


class Syncer:
    """Syncs `index` every `interval_s` seconds, if anything was committed, from `start` to `stop`."""

    def __init__(self, index: Index, interval_s: float = INTERVAL_S) -> None:
        self._index = index
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._is_wanted = self._is_stopping = False
        self._last_failure = ""
        self._thread = threading.Thread(target=self._run, name="discordfs-sync", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()

    def wake(self) -> None:
        """Sync now. Returns at once."""
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()

    def _run(self) -> None:
        while self._is_due():
            try:
                self._index.sync()
                self._last_failure = ""
            except (DiscordfsError, OSError, sqlite3.Error) as error:
                self._note_failure(error)

    def _is_due(self) -> bool:
        """Waits until a sync is due; False when there is to be none any more."""
        with self._changed:
            while not self._is_stopping:
                if self._is_wanted:
                    self._is_wanted = False
                    return True
                self._changed.wait(self._interval_s)
                if not self._is_wanted and not self._is_stopping and not self._index.is_synced:
                    return True
            return False

    def _note_failure(self, error: Exception) -> None:
        if str(error) != self._last_failure:
            self._last_failure = str(error)
            log.warning("staging and index cannot be synced to this machine's disk: %s", error)
