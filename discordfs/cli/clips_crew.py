"""Who works on clips beside the collector: thumbnails, links, pictures of posters, kept videos, the store.

Threading: made on one thread; the supervisor runs each on one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dotenv

from discordfs import clips as library
from discordfs import control
from discordfs.capture.media import cdn_of
from discordfs.clipping.catalogue import Catalogue
from discordfs.clipping.icons import Icons
from discordfs.clipping.keeping import CATALOGUE, Keeper, OnDrive
from discordfs.clipping.links import Renewer
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.store import BUCKET, CREDENTIALS, Store, store_url
from discordfs.clipping.thumbnails import Thumbnailer
from discordfs.clipping.workers import Plan
from discordfs.clipping.writer import Writer
from discordfs.config import StateDirectory
from discordfs.errors import ConfigError, FormatError, MissingError, RemoteError, UsageError
from discordfs.remote.retrying import RetryingStore

KEEP = ("drive", "store", "none")
_KEEP, _STORE = "keep", "store"
_CALL_S = 120.0
_SETTINGS = (BUCKET, CREDENTIALS, "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True, slots=True)
class Wishes:
    """Where things are kept: `store` a URL or "" for what was chosen last, `keep` one of KEEP or ""."""

    store: str = ""
    keep: str = ""


@dataclass(slots=True)
class Crew:
    """The workers in the order in which they end, and what went wrong last with each."""

    plans: list[Plan]
    troubles: dict[str, str] = field(default_factory=dict)

    def told(self, name: str, text: str) -> None:
        self.troubles[name] = text

    def failures(self) -> list[str]:
        """What is not done, in sentences."""
        return [f"{name}: {text}" for name, text in self.troubles.items() if text]


def environment(directory: Path = Path()) -> Mapping[str, str]:
    """The settings of the store: the environment's, else those of .env."""
    file = directory / ".env"
    said = dotenv.dotenv_values(file) if file.is_file() else {}
    found = {name: os.environ.get(name) or said.get(name) for name in _SETTINGS}
    return {name: value for name, value in found.items() if value}


def chosen(directory: ClipsDirectory, wishes: Wishes) -> Wishes:
    """With what was chosen before, where nothing is asked for now."""
    if not directory.catalogue.exists():
        return wishes
    known = Catalogue(directory.catalogue, is_reader=True)
    try:
        return Wishes(wishes.store or known.setting(_STORE), wishes.keep or known.setting(_KEEP))
    finally:
        known.close()


def open_store(directory: ClipsDirectory, wishes: Wishes) -> Store | None:
    """The store that was asked for, and can be reached; None where everything stays in the state directory.
    Raises ConfigError, MissingError, Unavailable."""
    settings = environment()
    if not wishes.store and not settings.get(BUCKET):
        return None
    store = Store(store_url(wishes.store, settings, directory.path), settings)
    store.check()
    return store


def take_up(directory: ClipsDirectory, store: Store | None) -> bool:
    """On a machine that has no catalogue: the one that was kept in the store. Whether there was one."""
    if store is None or directory.catalogue.exists() or store.size(CATALOGUE) is None:
        return False
    directory.path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with directory.held():
        draft = directory.catalogue.with_suffix(".new")
        draft.write_bytes(store.get(CATALOGUE))
        os.replace(draft, directory.catalogue)
    return True


def crew(work: library.Work, state: StateDirectory, api: str, store: Store | None, keep: str) -> Crew:
    """The collector leads. Raises UsageError for `keep` where there is nothing to keep in."""
    directory, catalogue = work.directory, work.catalogue
    read, download = _reading(work), _downloading(work)
    made = Crew([Plan("collector", work.collector, fatal=(RemoteError, FormatError))])

    def join(name: str, worker: Any) -> None:
        made.plans.append(Plan(name, worker, is_idle=worker.is_idle))

    def told(name: str) -> Callable[[str], None]:
        return partial(made.told, name)

    now = work.remote.now_ns
    join("thumbnailer", Thumbnailer(catalogue, read, directory.thumbs, now, told=told("thumbnailer")))
    join("renewer", Renewer(work.remote, work.loop, catalogue, now, told=told("renewer")))
    join("pictures", Icons(catalogue, directory.icons, cdn_of(api), download))
    catalogue.set(_KEEP, keep)
    if place := _place(state, directory, store, keep):
        join("keeper", Keeper(catalogue, place, read, directory.path, now, told("keeper")))
    if store is not None:
        join("writer", Writer(catalogue, store, directory.path, told("writer")))
    return made


def _place(
    state: StateDirectory, directory: ClipsDirectory, store: Store | None, keep: str
) -> Store | OnDrive | None:
    if keep == "store":
        return store or Store(directory.path.absolute().as_uri(), {})
    if keep == "drive":
        if not state.has_volume():
            raise UsageError(
                f"there is no volume in {state.path} to keep clips on: 'discordfs init' makes one"
            )
        return OnDrive(partial(_mountpoint, state))
    if keep not in ("", "none"):
        raise ConfigError(f"keep={keep}: expected one of {', '.join(KEEP)}")
    return None


def _mountpoint(state: StateDirectory) -> Path | None:
    try:
        status = control.call(state.path, "status")
    except MissingError:
        return None
    return Path(status["mountpoint"]) if status["writer"] else None


def _reading(work: library.Work) -> Callable[[int, int, int, int, int], bytes]:
    store = RetryingStore(work.remote)

    def read(channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        return work.loop.call(store.read(channel, message, attachment, start, length), _CALL_S)

    return read


def _downloading(work: library.Work) -> Callable[..., Any]:
    return lambda url, sink: work.loop.call(work.remote.download(url, sink), _CALL_S)
