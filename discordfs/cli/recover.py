"""`discordfs recover`: builds the index of a volume from Discord alone, on a machine that has nothing of it.

Job: the key, the channel of the log, the index; then config.toml and key. Until the log has been read with
the key nothing is touched, and the index gets its name last: no mount takes a recovery that was interrupted
for whole, and another one goes on. Threading: the main thread; Discord is asked through a loop of its own.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click

from discordfs.cli.bringing import bring_from_volume
from discordfs.cli.common import human, shown_progress, state_of, state_option
from discordfs.cli.passphrase import is_interactive, unlock
from discordfs.compose import Account, Connection, connect
from discordfs.config import Config, Settings, StateDirectory, StateLock, Volume, api_of
from discordfs.disk import JOURNALS, put_database, sync_directory
from discordfs.errors import ConfigError, Forbidden, MissingError, RemoteGone
from discordfs.keys import KeyFile, VolumeKeys, write_key_file
from discordfs.logreading import LogReader, Look, describe_holder, when
from discordfs.model import Caller
from discordfs.recovery import NO_INTENT, Recovered, Sighting, build_index, hidden, read_log, sightings
from discordfs.recoverycode import GROUP_SIZE, GROUPS, decode_recovery_code
from discordfs.registry import runtime_dir
from discordfs.remote import setup
from discordfs.remote.retrying import RetryingApi
from discordfs.remote.setup import Room
from discordfs.tokens import find_token

ASK_TIMEOUT_S = 120.0
_DEEP = 200  # pages of a channel that are looked through for a record, where the first has none

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--key-file", type=FILE, help="A copy of the volume's key file; else the code is asked for.")
@click.option("--passphrase-file", type=FILE, help="Holds the passphrase of that key file, if it has one.")
@click.option("--channel", "channels", type=int, multiple=True, help="Look for the volume here alone.")
@state_option
def recover(
    key_file: Path | None, passphrase_file: Path | None, channels: tuple[int, ...], state_dir: Path | None
) -> None:
    """Builds the index of a volume from Discord alone. Without --key-file the recovery code is read from
    standard input."""
    state = state_of(state_dir)
    key = _key(state, key_file, passphrase_file)
    _check_room(state, key)
    token = find_token(os.environ, state.path, key.volume.hex())
    account = Account(api_of(os.environ), token, runtime_dir(os.geteuid()))
    with ExitStack() as undo:
        there = connect(undo, account, VolumeKeys(key.master), key.volume, None, 0)
        search = _Search(there, key.volume, undo.enter_context(shown_progress("reading the log", "records")))
        guild, channel = search.find_log(channels)
        reader, look = search.read(channel)
        state.create()
        undo.enter_context(StateLock(state))
        _check_room(state, key)
        recovered = _install(state, key, key_file, search.build(_draft(state), reader, look), account.api)
        problems = [*search.problems, *recovered.problems, *search.limits_of(recovered, guild)]
        _show(recovered, problems)
        if trouble := bring_from_volume(state, account, VolumeKeys(key.master)):
            click.echo(f"note: {trouble}")


# --- the key ----------------------------------------------------------------------------------------


def _key(state: StateDirectory, key_file: Path | None, passphrase_file: Path | None) -> KeyFile:
    """From the file that was named, from the state directory of a recovery that was interrupted or of a
    volume that lost its index, or typed."""
    if key_file is None and state.key_file.exists():
        key_file = state.key_file
    if key_file is not None:
        return unlock(key_file, None, passphrase_file, "--passphrase-file")
    return decode_recovery_code(_typed_code() if is_interactive() else sys.stdin.read())


def _typed_code() -> str:
    """Lines until the code is long enough, or an empty one."""
    click.echo("Recovery code (in as many lines as you like; its letters are shown):", err=True)
    typed = ""
    while sum(letter.isalnum() for letter in typed) < GROUPS * GROUP_SIZE:
        line = click.prompt("", prompt_suffix="> ", default="", show_default=False, err=True)
        if not line:
            break
        typed += f"{line}\n"
    return typed


# --- the state directory ------------------------------------------------------------------------------


def _check_room(state: StateDirectory, key: KeyFile) -> None:
    """Nothing that is there may get lost. A volume whose index is missing may be recovered in its place."""
    if state.index_file.exists():
        raise ConfigError(
            f"{state.path} holds a volume already: choose another --state-dir for the recovered one"
        )
    if state.has_volume() and state.load().volume.uid != key.volume:
        raise ConfigError(f"{state.path} belongs to another volume: choose another --state-dir")


def _draft(state: StateDirectory) -> Path:
    return state.path / "recovered.sqlite"


def _install(
    state: StateDirectory, key: KeyFile, key_file: Path | None, recovered: Recovered, api: str
) -> Recovered:
    """The index is there under another name; the key, config.toml, and the index's own name last."""
    _set_aside(state)
    if not state.key_file.exists():
        _write_key(state, key, key_file)
    settings = state.load().settings if state.has_volume() else Settings()
    said = recovered.volume
    volume = Volume(key.volume.hex(), said.name, api, said.guild, said.log_channel, tuple(said.data_channels))
    state.save(Config(volume, settings))
    put_database(_draft(state), state.index_file)
    return recovered


def _write_key(state: StateDirectory, key: KeyFile, key_file: Path | None) -> None:
    """A key file is taken as it is, with the passphrase it may have."""
    if key_file is None:
        write_key_file(state.key_file, key)
        return
    draft = state.path / ".key.tmp"
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key_file.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, state.key_file)


def _set_aside(state: StateDirectory) -> None:
    """Staged bytes whose index is lost: of no use to the new one, which would delete them. And what SQLite
    had beside that index, which it would carry out on the new one."""
    left = [place for place in (state.staging, state.outbox) if place.is_dir() and any(place.iterdir())]
    journals = [state.index_file.with_name(state.index_file.name + suffix) for suffix in JOURNALS]
    left += [place for place in journals if place.exists()]
    if not left:
        return
    aside = state.path / f"before-recovery-{datetime.now():%Y-%m-%d-%H%M%S}"
    aside.mkdir(mode=0o700)
    for place in left:
        place.rename(aside / place.name)
    sync_directory(aside)
    sync_directory(state.path)
    click.echo(f"what was here without an index lies in {aside}", err=True)


# --- on Discord -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Seen:
    """A channel, and a volume's chunks in it."""

    guild: int
    room: Room
    sighting: Sighting

    def __str__(self) -> str:
        volume, channel = self.sighting.volume.hex(), self.room.channel
        kind = "log" if self.sighting.newest_record else "data"
        return (
            f"volume {volume}: {kind} in channel {channel.id} (#{channel.name}) of server {self.guild}, "
            f"newest message {when(self.sighting.newest)}"
        )


class _Search:
    """Looks for a volume in the bot's channels."""

    def __init__(self, there: Connection, volume: bytes, progress: Callable[[int, int], None]) -> None:
        self._there, self._volume, self._progress = there, volume, progress
        self._api = RetryingApi(there.remote)
        self._me = self._ask(setup.who_am_i).id
        self._sees_others: bool = self._ask(setup.sees_others)
        self.problems: list[str] = []

    def _ask(self, question: Callable[..., Coroutine[Any, Any, Any]], *arguments: int) -> Any:
        return self._there.loop.call(question(self._api, *arguments), ASK_TIMEOUT_S)

    def find_log(self, channels: Sequence[int]) -> tuple[int, int]:
        """(server, channel) of the newest record of the volume. Raises MissingError and Forbidden, which say
        what there was instead, and what the bot may not do."""
        rooms = list(self._given(channels) if channels else self._all())
        problems = [
            f"channel {room.channel.id} (#{room.channel.name}): permission {name} is missing"
            for _, room in rooms
            for name in room.missing
            if name in setup.READING
        ]
        blind: list[int] = []
        seen = [
            found for guild, room in rooms if room.is_readable for found in self._look(guild, room, blind)
        ]
        if not channels:
            for found in seen:
                click.echo(str(found), err=True)
        mine = [found for found in seen if found.sighting.volume == self._volume]
        if not mine:
            raise self._not_found(seen, problems, blind)
        newest = max(mine, key=self._newest_record)
        return newest.guild, newest.room.channel.id

    def _given(self, channels: Sequence[int]) -> Iterator[tuple[int, Room]]:
        known: dict[int, tuple[int, Room]] = {}
        for channel in channels:
            if channel not in known:
                guild = self._guild_of(channel)
                known |= {room.channel.id: (guild, room) for room in self._ask(setup.find_rooms, guild)}
            yield known[channel]

    def _guild_of(self, channel: int) -> int:
        try:
            return int(self._ask(setup.find_guild_of, channel))
        except RemoteGone as error:
            raise MissingError(f"there is no text channel {channel} ({error})") from None
        except Forbidden:
            raise Forbidden(f"channel {channel}: permission VIEW_CHANNEL is missing") from None

    def _all(self) -> Iterator[tuple[int, Room]]:
        for guild in self._ask(setup.find_guilds):
            for room in self._ask(setup.find_rooms, guild.id):
                yield guild.id, room

    def _look(self, guild: int, room: Room, blind: list[int]) -> list[_Seen]:
        page = next(self._there.chunks.pages(room.channel.id), [])
        if not self._sees_others and hidden(page, self._me):
            blind.append(room.channel.id)
        found = sightings(page, self._there.store, self._there.loop)
        return [_Seen(guild, room, sighting) for sighting in found]

    def _newest_record(self, seen: _Seen) -> int:
        """Where the newest page has none, a record is looked for in the pages before."""
        if seen.sighting.newest_record:
            return seen.sighting.newest_record
        for page in islice(self._there.chunks.pages(seen.room.channel.id), 1, _DEEP):
            for found in sightings(page, self._there.store, self._there.loop):
                if found.volume == self._volume and found.newest_record:
                    return found.newest_record
        return 0

    def _not_found(
        self, seen: Sequence[_Seen], problems: Sequence[str], blind: Sequence[int]
    ) -> MissingError | Forbidden:
        wanted = self._volume.hex()
        if blind:
            return Forbidden(f"volume {wanted} was not found, but {NO_INTENT.format(channel=blind[0])}")
        others = sorted({found.sighting.volume.hex() for found in seen})
        text = f"there is no volume {wanted}, which this key is for, where the bot can look"
        text += f"; found: {', '.join(others)}" if others else "; no other volume was found either"
        if problems:
            return Forbidden(f"{text}; {'; '.join(problems)}")
        return MissingError(text)

    def read(self, channel: int) -> tuple[LogReader, Look]:
        """All of the log in this channel. Raises what recovery.read_log does."""
        reader = LogReader(self._there.chunks, channel, self._progress)
        return reader, read_log(self._there.chunks, reader, self._me, self._sees_others)

    def build(self, draft: Path, reader: LogReader, look: Look) -> Recovered:
        """The index; from the channel that the newest snapshot names, if the log goes on there."""
        owner = Caller(os.geteuid(), os.getegid())
        recovered = build_index(draft, reader, look, owner, time.time_ns())
        channel = recovered.volume.log_channel
        if channel == reader.channel:
            return recovered
        try:
            reader, look = self.read(channel)
        except (RemoteGone, Forbidden, MissingError) as error:
            self.problems.append(f"the log went on in channel {channel}, which cannot be read: {error}")
            return recovered
        return build_index(draft, reader, look, owner, time.time_ns())

    def limits_of(self, recovered: Recovered, guild: int) -> list[str]:
        """What the bot may not do in the channels of the volume, in sentences."""
        try:
            rooms = self._ask(setup.find_rooms, recovered.volume.guild or guild)
        except (Forbidden, RemoteGone) as error:
            return [f"server {recovered.volume.guild} cannot be looked at: {error}"]
        missing = {room.channel.id: room.missing for room in rooms}
        said = []
        for channel in dict.fromkeys((recovered.volume.log_channel, *recovered.volume.data_channels)):
            if channel not in missing:
                said.append(f"channel {channel} is gone: files in it cannot be read")
            said += [f"channel {channel}: permission {name} is missing" for name in missing.get(channel, ())]
        return said


# --- what is said -----------------------------------------------------------------------------------------


def _show(recovered: Recovered, problems: Sequence[str]) -> None:
    volume, state = recovered.volume, recovered.state
    click.echo(f"recovered {recovered.files} files, {human(recovered.bytes)}, of volume {volume.name}")
    click.echo(f"newest record: {when(state.head_message)}; {describe_holder(state)}")
    for problem in problems:
        click.echo(f"note: {problem}")
    if state.released:
        click.echo("its writer has ended. Next: 'discordfs mount MOUNTPOINT'")
        return
    click.echo("to look at it, and follow its writer: 'discordfs mount --read-only MOUNTPOINT'")
    click.echo("to write, if that machine is lost: 'discordfs mount --take-over MOUNTPOINT'")
