"""The files that are derived of all runs: <root>/views/, which the mount shows as archive/.

`update_views` is called when a run ends, and after runs were added. It writes what changed and nothing else,
each file by a rename or by appending to it (tails.py), and brings the catalogue along, channel by channel:
killed at any moment, the next one goes on. Who lists or reads never waits for it.
Limits: memory for the names of all channels and one channel's work. Errors: OSError, sqlite3.Error.
Threading: one process at a time (root.deriving); one thread.
"""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from discordfs.archived import guildview
from discordfs.archived.catalogue import Catalogue, Read
from discordfs.archived.channelview import (
    HTML,
    THREADS,
    Built,
    ChannelBuilder,
    ChannelPlan,
    Origin,
    remove,
)
from discordfs.archived.mediafiles import MediaFiles
from discordfs.archived.names import DIRECT_MESSAGES, named, number_of
from discordfs.archived.observing import channels_heard
from discordfs.archived.pageframe import INDEX, Beside, relative, server_page
from discordfs.archived.records import whole_number
from discordfs.archived.root import CATALOGUE, VIEWS, added_directories, deriving, known_runs
from discordfs.archived.runs import THREAD_TYPES, Run, Source, member
from discordfs.archived.tails import put
from discordfs.remote.base import snowflake_ns

Progress = Callable[[int, int], None]
"""(channels done, channels in all)."""


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update came to. `changed`: channels whose files are new; `trouble`: what could not be read."""

    runs: int
    channels: int
    changed: int
    messages: int
    trouble: tuple[str, ...] = ()


@dataclass(slots=True)
class _Channel:
    """A channel as the runs have it. `name` is the last one, `first` the first."""

    id: int
    guild: int = 0
    parent: int = 0
    first: str = ""
    name: str = ""
    origins: list[Origin] = field(default_factory=list)
    directory: str = ""


@dataclass(slots=True)
class _Guild:
    first: str = ""
    name: str = ""
    origins: list[Origin] = field(default_factory=list)


def update_views(root: Path, progress: Progress = lambda done, total: None) -> Updated:
    """Brings views and catalogue of the archive at `root` up to its runs."""
    stores = [root, *added_directories(root)]
    with deriving(root), Catalogue(root / CATALOGUE) as catalogue, MediaFiles(stores) as media:
        return _Update(root, catalogue, media, progress).run()


class _Update:
    def __init__(self, root: Path, catalogue: Catalogue, media: MediaFiles, progress: Progress) -> None:
        self._views = root / VIEWS
        self._catalogue = catalogue
        self._media = media
        self._progress = progress
        self._runs = known_runs(root)
        self._channels: dict[int, _Channel] = {}
        self._guilds: dict[int, _Guild] = {}
        self._below: dict[int, list[_Channel]] = {}
        self._names = catalogue.names()
        self._roles: dict[int, dict[str, str]] = {}
        self._trouble: list[str] = []

    def run(self) -> Updated:
        self._views.mkdir(mode=0o700, parents=True, exist_ok=True)
        for run in self._runs:
            with self._told(run.path):
                for source in run.sources():
                    self._note(run, source)
        self._name_all()
        self._remove_gone()
        for guild, found in self._guilds.items():
            with self._told(self._views / self._names[guild]):
                self._build_guild(guild, found)
        built: dict[int, Built] = {}
        for number, channel in enumerate(self._channels.values()):
            if channel.origins:
                built[channel.id] = self._build(channel)
            self._progress(number + 1, len(self._channels))
        self._write_indexes(built)
        done = built.values()
        trouble = (*self._trouble, *(text for each in done for text in each.trouble))
        changed = sum(each.is_changed for each in done)
        messages = sum(each.messages for each in done)
        return Updated(len(self._runs), len(done), changed, messages, trouble)

    @contextmanager
    def _told(self, place: Path) -> Iterator[None]:
        """What cannot be read there is told, and takes nothing from the others."""
        try:
            yield
        except OSError as error:
            self._trouble.append(f"{place}: {error}")

    # --- what there is ---------------------------------------------------------------------------------

    def _note(self, run: Run, source: Source) -> None:
        meta = source.meta()
        if source.channel:
            self._note_channel(run, source, member(meta, "channel"))
        elif source.guild:
            guild = self._guilds.setdefault(source.guild, _Guild())
            guild.origins.append(Origin(run, source))
            name = guildview.guild_name(meta)
            guild.first, guild.name = guild.first or name, name or guild.name
        else:
            self._note_heard(run, source)

    def _note_heard(self, run: Run, source: Source) -> None:
        """Channels of which the run's own file tells what the gateway said."""
        status = source.path.stat()
        stamp = run.key, status.st_size, status.st_mtime_ns
        heard = self._catalogue.heard(*stamp)
        if heard is None:
            heard = channels_heard(source.path)
            with self._catalogue.change():
                self._catalogue.set_heard(*stamp, heard)
        for number, guild in heard.items():
            channel = self._channels.setdefault(number, _Channel(number))
            channel.guild = channel.guild or guild
            channel.origins.append(Origin(run, source))
            if guild:
                self._guilds.setdefault(guild, _Guild())

    def _note_channel(self, run: Run, source: Source, meta: Mapping[str, Any]) -> None:
        channel = self._channels.setdefault(source.channel, _Channel(source.channel))
        channel.guild = channel.guild or source.guild
        channel.origins.append(Origin(run, source))
        name = meta.get("name")
        if isinstance(name, str) and name:
            channel.first, channel.name = channel.first or name, name
        parent = whole_number(meta.get("parent_id"))
        kind = whole_number(meta.get("type"))
        if kind in THREAD_TYPES and parent and parent != channel.id:
            channel.parent = parent
        if source.guild:
            self._guilds.setdefault(source.guild, _Guild())

    def _name_all(self) -> None:
        for channel in list(self._channels.values()):
            if channel.parent and channel.parent not in self._channels:
                self._channels[channel.parent] = _Channel(channel.parent, channel.guild)
            if channel.parent:
                self._below.setdefault(channel.parent, []).append(channel)
        kept = dict(self._names)
        for number, guild in self._guilds.items():
            kept.setdefault(
                number, self._there(self._views, number) or named(guild.first or "server", number)
            )
        self._names = kept
        for channel in self._channels.values():
            channel.directory = self._directory(channel)
        with self._catalogue.change():
            self._catalogue.keep_names(self._names.items())

    def _directory(self, channel: _Channel) -> str:
        parent = self._channels.get(channel.parent)
        if parent is not None and not parent.parent:
            above = f"{self._directory(parent)}/{THREADS}"
        else:
            above = self._names[channel.guild] if channel.guild else DIRECT_MESSAGES
        if channel.id not in self._names:
            otherwise = "channel" if channel.guild else "direct message"
            there = self._there(self._views / above, channel.id)
            self._names[channel.id] = there or named(channel.first or otherwise, channel.id)
        return f"{above}/{self._names[channel.id]}"

    @staticmethod
    def _there(folder: Path, number: int) -> str:
        """What a directory is called already, so that a lost catalogue changes no name."""
        ending = f" ({number})"
        found = sorted(folder.glob(f"*{ending}")) if folder.is_dir() else []
        return found[0].name if found and number_of(found[0].name) == number else ""

    def _remove_gone(self) -> None:
        for number, directory in self._catalogue.built().items():
            channel = self._channels.get(number)
            if channel is None or not channel.origins or channel.directory != directory:
                remove(self._views, directory)
                with self._catalogue.change():
                    self._catalogue.forget(number)
        for folder in sorted(self._views.iterdir()) if not self._channels else ():
            shutil.rmtree(folder)

    # --- building --------------------------------------------------------------------------------------

    def _build(self, channel: _Channel) -> Built:
        plan = ChannelPlan(
            id=channel.id,
            directory=channel.directory,
            title=channel.name or str(channel.id),
            server=self._server(channel.guild),
            origins=tuple(channel.origins),
            pages=partial(self._pages, channel.directory),
            name=partial(self._name, channel.guild),
            above=self._above(channel),
            threads=tuple(self._threads_of(channel)),
        )
        try:
            with self._catalogue.change():
                return ChannelBuilder(plan, self._views, self._catalogue, self._media).build()
        except (
            OSError
        ) as error:  # of one channel: a directory elsewhere that is gone, a file that cannot be read
            return Built(0, 0, 0, False, (f"{channel.directory}: {error}",))

    def _pages(self, directory: str, number: int) -> str:
        """The pages of a channel, as seen from those of the one in `directory`; "" if it has none."""
        channel = self._channels.get(number)
        if channel is None or not channel.origins:
            return ""
        return relative(*posixpath.relpath(f"{channel.directory}/{HTML}", f"{directory}/{HTML}").split("/"))

    def _name(self, guild: int, mention: str) -> str:
        """Of a channel ("#123") of any server, or of a role ("@123") of this one."""
        channel = self._channels.get(int(mention[1:])) if mention[0] == "#" else None
        return channel.name if channel else self._roles.get(guild, {}).get(mention, "")

    def _server(self, guild: int) -> str:
        return self._guilds[guild].name or str(guild) if guild else DIRECT_MESSAGES

    def _above(self, channel: _Channel) -> Beside:
        if pages := self._pages(channel.directory, channel.parent):
            return Beside(channel.parent, self._channels[channel.parent].name, f"{pages}/{INDEX}")
        up = "../" * (channel.directory.count("/") + 1)
        return Beside(channel.guild, self._server(channel.guild), f"{up}{INDEX}")

    def _threads_of(self, channel: _Channel) -> Iterable[Beside]:
        below = sorted(self._below.get(channel.id, ()), key=lambda thread: thread.id)
        return [
            Beside(thread.id, thread.name, f"{self._pages(channel.directory, thread.id)}/{INDEX}")
            for thread in below
            if thread.origins
        ]

    def _write_indexes(self, built: Mapping[int, Built]) -> None:
        """The page of each server, and of the direct messages."""
        rows: dict[int, list[Beside]] = {}
        for channel in self._channels.values():
            if channel.origins and not self._pages("", channel.parent):
                rows.setdefault(channel.guild, []).append(self._row(channel, built))
        for guild, channels in rows.items():
            folder = self._names[guild] if guild else DIRECT_MESSAGES
            page = server_page(
                self._server(guild), sorted(channels, key=lambda row: (row.name.lower(), row.id))
            )
            newest = max(row.newest_id for row in channels)
            with self._told(self._views / folder):
                put(self._views / folder / INDEX, page.encode("utf-8", "replace"), snowflake_ns(newest))

    def _row(self, channel: _Channel, built: Mapping[int, Built]) -> Beside:
        below = [thread.id for thread in self._below.get(channel.id, ()) if thread.origins]
        parts = [built[number] for number in (channel.id, *below)]
        place = relative(*channel.directory.split("/")[1:], HTML, INDEX)
        messages, newest = sum(each.messages for each in parts), max(each.newest_id for each in parts)
        return Beside(channel.id, channel.name, place, messages, newest)

    def _build_guild(self, number: int, guild: _Guild) -> None:
        reads = [_read_of(origin) for origin in guild.origins]
        folder = self._views / self._names[number]
        known = self._catalogue.sources(number)
        if {read.key for read in known.values()} == {read.key for read in reads} and folder.is_dir():
            self._roles[number] = guildview.role_names(folder)
            return
        guildview.write_guild([origin.source for origin in guild.origins], folder, self._views)
        with self._catalogue.change():
            self._catalogue.set_sources(number, reads)
        self._roles[number] = guildview.role_names(folder)


def _read_of(origin: Origin) -> Read:
    status = origin.source.path.stat()
    return Read(*origin.key, status.st_size, status.st_mtime_ns, 0, 0, 0, 0, ())
