"""Where clips are kept beside the catalogue: pictures of posters, a store, the videos themselves; and the
workers for that.

Settings come from the environment, or else from .env. Threading: made on one thread; the supervisor runs each
worker on one of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dotenv

from discordfs import clips as library
from discordfs import control
from discordfs.capture.media import cdn_of
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.icons import Icons
from discordfs.clipping.keeping import CATALOGUE, DRIVE, Keeper, OnDrive, bring_back
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.store import BUCKET, CREDENTIALS, NOWHERE, Store, store_url
from discordfs.clipping.workers import Board, Plan
from discordfs.clipping.writer import Writer
from discordfs.config import StateDirectory
from discordfs.disk import put_database
from discordfs.errors import MissingError, UsageError
from discordfs.localtree import LocalTree

KEEP = ("drive", "store", "none")
_CALL_S = 120.0
_DRAFT_S = 86_400.0  # what is so old in a store, and half made, nobody is at any more
_SETTINGS = (BUCKET, CREDENTIALS, "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True, slots=True)
class Storing:
    """What was chosen: the store, None where everything stays in the state directory; and where videos are
    kept, one of KEEP."""

    state: StateDirectory
    directory: ClipsDirectory
    api: str
    store: Store | None
    keep: str

    def plans(self, work: library.Work, board: Board) -> list[Plan]:
        """Workers for after those that look at clips. What was chosen is remembered."""
        catalogue, now = work.catalogue, work.remote.now_ns

        def read(channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
            return work.loop.call(work.remote.read(channel, message, attachment, start, length), _CALL_S)

        def download(url: str, sink: Any) -> Any:
            return work.loop.call(work.remote.download(url, sink), _CALL_S)

        catalogue.set("keep", self.keep)
        icons = Icons(catalogue, self.directory.icons, cdn_of(self.api), download)
        found = [Plan("pictures", icons, is_idle=icons.is_idle)]
        place = self._place()
        if place is not None:
            keeper = Keeper(catalogue, place, read, self.directory.path, now, board.of("keeper"))
            found.append(Plan("keeper", keeper, is_idle=keeper.is_idle))
        if self.store is not None:
            writer = Writer(catalogue, self.store, self.directory.path, board.of("writer"))
            found.append(Plan("writer", writer, is_idle=writer.is_idle))
        else:
            catalogue.write_to(NOWHERE)
        return found

    def _place(self) -> Store | OnDrive | None:
        if self.keep == "store":
            return self.store or Store(self.directory.path.absolute().as_uri(), {})
        return OnDrive(partial(_mountpoint, self.state)) if self.keep == "drive" else None

    def told(self) -> str:
        """Where things are, for people."""
        where = f"The catalogue is in {self.directory.path}, on this machine"
        others = []
        if self.store is not None:
            others.append(f"records and thumbnails in {self.store.url}")
        if self.keep == "drive":
            others.append(f"the videos and a copy of it on the drive, in /{DRIVE}")
        elif self.keep == "store" and self.store is not None:
            others.append("the videos and a copy of it there too")
        elif self.keep == "store":
            others.append("the videos beside it")
        return f"{where}; {', '.join(others)}" if others else f"{where} only"


def storing(state: StateDirectory, directory: ClipsDirectory, api: str, store: str, keep: str) -> Storing:
    """What is asked for, else what was chosen before, else what the settings say. Where this machine has no
    catalogue and the store or the mounted drive keeps one, that is taken. Raises ConfigError, UsageError,
    Unavailable."""
    settings, opened = environment(), None
    url = store or _before(directory, "store")
    if url != NOWHERE and (url or settings.get(BUCKET)):
        opened = Store(store_url(url, settings, directory.path), settings)
        opened.check()
        opened.sweep(time.time() - _DRAFT_S)
        _take_up(directory, opened)
    keep = keep or _before(directory, "keep") or "none"
    if keep == "drive" and not state.has_volume():
        raise UsageError(f"there is no volume in {state.path} to keep clips on: 'discordfs init' makes one")
    if keep == "drive":
        _take_up_from_drive(directory, _mountpoint(state))
    return Storing(state, directory, api, opened, keep)


def environment(directory: Path = Path()) -> Mapping[str, str]:
    """The settings of stores."""
    file = directory / ".env"
    said = dotenv.dotenv_values(file) if file.is_file() else {}
    found = {name: os.environ.get(name) or said.get(name) for name in _SETTINGS}
    return {name: value for name, value in found.items() if value}


def _before(directory: ClipsDirectory, key: str) -> str:
    """What was chosen the last time."""
    if not directory.catalogue.exists():
        return ""
    known = Catalogue(directory.catalogue, is_reader=True)
    try:
        return known.setting(key)
    finally:
        known.close()


def _take_up(directory: ClipsDirectory, store: Store) -> None:
    """Whole or not at all."""
    if directory.catalogue.exists() or store.size(CATALOGUE) is None:
        return
    with directory.held():
        draft = directory.catalogue.with_suffix(".new")
        store.get_file(CATALOGUE, draft)
        put_database(draft, directory.catalogue)


def _take_up_from_drive(directory: ClipsDirectory, mountpoint: Path | None) -> None:
    """With the thumbnails; the catalogue comes last."""
    if mountpoint is not None and not directory.catalogue.exists():
        with directory.held():
            bring_back(LocalTree(mountpoint), directory.path)


def _mountpoint(state: StateDirectory) -> Path | None:
    try:
        status = control.call(state.path, "status")
    except MissingError:
        return None
    return Path(status["mountpoint"]) if status["writer"] else None
