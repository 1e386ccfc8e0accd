"""Writes what the catalogue knows to a store, as the predecessor kept it: messages/<Id>.json,
thumb/<Id>.png, userData/<user>.json and .png.

The catalogue is the queue: a clip is written until the store took it as it is; so nothing is lost while the
store is away, nor by a kill. A clip that is deleted moves to deleted/<Id>.json and its thumbnail goes, unless
a copy of it is kept. Where ids collide the later clip has its attachment's id behind.
Errors: Unavailable, ConfigError of the store. Threading: `run` on a worker of its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

from discordfs.clipping.backoff import Backoff, Rounds
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.exporting import file_name
from discordfs.clipping.model import Clip, Poster
from discordfs.clipping.record import record_of, record_text
from discordfs.clipping.store import Store
from discordfs.errors import ConfigError

_BATCH = 100
_TURN_S = 2.0


class Writer:
    """`folder`: where thumb/<attachment>.png and icons/<user>.png lie. `told` hears what goes wrong, and ""
    once it goes well again."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: Store,
        folder: Path,
        told: Callable[[str], None] = lambda text: None,
        backoff: Backoff | None = None,
    ) -> None:
        self._catalogue, self._store, self._folder = catalogue, store, folder
        self._backoff = backoff or Backoff()
        self._rounds = Rounds(f"clips are not written to {store.url} for now", _TURN_S, told, self._backoff)
        catalogue.write_to(store.url)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`, and then once more: what is in the catalogue by then is written if the store takes
        it."""
        self._rounds.run(stop, self._write_all)

    def _write_all(self) -> None:
        while self.step():
            pass

    def is_idle(self) -> bool:
        """Whether the store has everything, or takes nothing for now."""
        return bool(self._backoff.failures) or not self._catalogue.has_unwritten()

    def step(self) -> int:
        """Writes a batch; how many things that were. Raises Unavailable and ConfigError: what was written by
        then counts."""
        posters = self._catalogue.unwritten_posters(_BATCH)
        for poster, change in posters:
            self._write_poster(poster)
            self._catalogue.written((), [(poster.id, change)])
        clips = self._catalogue.unwritten(_BATCH)
        for clip, change in clips:
            self._write_clip(clip)
            self._catalogue.written([(clip.id, change)])
        return len(posters) + len(clips)

    def _write_clip(self, clip: Clip) -> None:
        poster, place = self._catalogue.poster(clip.poster), self._catalogue.place(clip.channel)
        if poster is None or place is None:
            raise ConfigError(f"clip {clip.id} has no poster or channel in the catalogue: it is damaged")
        name = file_name(self._catalogue, clip)
        data = record_text(record_of(clip, poster, place)).encode()
        is_gone = bool(clip.deleted_ns) and not clip.kept
        self._store.put(f"{'deleted' if is_gone else 'messages'}/{name}.json", data)
        self._store.remove(f"{'messages' if is_gone else 'deleted'}/{name}.json")
        thumb = self._folder / "thumb" / f"{clip.id}.png"
        if is_gone:
            self._store.remove(f"thumb/{name}.png")
        elif thumb.exists():
            self._store.put_file(f"thumb/{name}.png", thumb)

    def _write_poster(self, poster: Poster) -> None:
        said = {"id": str(poster.id), "name": poster.name, "display": poster.display, "icon": poster.icon}
        self._store.put(f"userData/{poster.id}.json", json.dumps(said).encode())
        icon = self._folder / "icons" / f"{poster.id}.png"
        if icon.exists():
            self._store.put_file(f"userData/{poster.id}.png", icon)
