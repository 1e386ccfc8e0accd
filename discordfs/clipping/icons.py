"""The pictures of posters: icons/<user>.png, fetched once for each picture they have.

Which picture a file is of stands beside it, in <user>.hash; so a new one is fetched, and one that cannot be
had is not asked for again. Errors: none; what failed is tried at the next turn. Threading: `run` on a worker
of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from discordfs.archived.tails import new_file
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.model import Poster
from discordfs.disk import make_directory
from discordfs.remote.base import Fetched

Download = Callable[[str, Callable[[bytes], object]], Fetched]
"""Fetches an address into a sink: Api.download, from a plain thread."""

_SIZE = 128
_MOST = 4 * 1024**2
_TURN_S = 3.0
_NEVER = frozenset({403, 404, 415})
_log = logging.getLogger(__name__)


class Icons:
    """`cdn`: where avatars are (capture.media.cdn_of)."""

    def __init__(self, catalogue: Catalogue, folder: Path, cdn: str, download: Download) -> None:
        self._catalogue, self._folder, self._cdn, self._download = catalogue, folder, cdn, download
        self._tried: set[int] = set()
        make_directory(folder)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.step(stop)
            stop.wait(_TURN_S)

    def is_idle(self) -> bool:
        """Whether there is none that was not tried."""
        return all(poster.id in self._tried for poster in self._missing())

    def step(self, stop: threading.Event | None = None) -> int:
        """Fetches what is missing; how many there were."""
        count = 0
        for poster in self._missing():
            if stop is not None and stop.is_set():
                break
            count += self._fetch(poster)
            self._tried.add(poster.id)
        return count

    def _missing(self) -> list[Poster]:
        posters = [poster for poster, _ in self._catalogue.posters()]
        return [poster for poster in posters if poster.icon and self._had(poster) != poster.icon]

    def _had(self, poster: Poster) -> str:
        try:
            return (self._folder / f"{poster.id}.hash").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def _fetch(self, poster: Poster) -> bool:
        data = bytearray()
        fetched = self._download(
            f"{self._cdn}/avatars/{poster.id}/{poster.icon}.png?size={_SIZE}", data.extend
        )
        if fetched.status != 200 or fetched.error or not 0 < len(data) <= _MOST:
            if fetched.status in _NEVER:
                self._put(f"{poster.id}.hash", poster.icon.encode())
            _log.info("the picture of user %d could not be had (status %d)", poster.id, fetched.status)
            return False
        self._put(f"{poster.id}.png", bytes(data))
        self._put(f"{poster.id}.hash", poster.icon.encode())
        self._catalogue.icon_changed(poster.id)
        return True

    def _put(self, name: str, data: bytes) -> None:
        with new_file(self._folder / name) as file:
            file.write(data)
