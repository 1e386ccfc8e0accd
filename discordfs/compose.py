"""The composition root of the drive: builds one out of config, starts it and stops it in order.

The only place that hands out clocks, randomness and sleep. Threading: open and close on one thread; what
is in between is for any.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from discordfs.archived.tree import ArchiveTree
from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.clipping.keeping import DRIVE as KEPT_ON_DRIVE
from discordfs.clipping.kept import ChosenStore, DrivePlace, LocalPlace, StorePlace
from discordfs.clipping.listing import Owner
from discordfs.clipping.place import ClipsDirectory
from discordfs.clipping.reader import ClipReader
from discordfs.clipping.tree import ClipsTree
from discordfs.config import Config, Settings, StateDirectory, Volume
from discordfs.control import Progress
from discordfs.disk import boot_id
from discordfs.ending import close_remote, end_tenure, in_time
from discordfs.errors import DiscordfsError, ReadOnly, TimedOut
from discordfs.follower import Follower
from discordfs.fs import Drive
from discordfs.fsck.mounted import DeletionWatch, Doctor
from discordfs.fsck.offline import premises_of
from discordfs.fsck.repairing import Parts
from discordfs.gc.keeper import Habits, Housekeeper
from discordfs.gc.keeper import figures as gc_figures
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.log import Lost
from discordfs.logreading import LogReader, describe_holder
from discordfs.lookout import Lookout
from discordfs.model import Caller, Filesystem, QueueStatus, ReadOnlyTree
from discordfs.opening import assume_role, check_index_is_there
from discordfs.records import VolumeEntry
from discordfs.recovery import hidden
from discordfs.remote.base import Message, MessageStore
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import RetryingStore
from discordfs.remote.setup import sees_others
from discordfs.remotesync import RemoteSyncDrive
from discordfs.staging import Staging
from discordfs.stranded import stranded_paths
from discordfs.tenure import Role, Standing, Tenure, Wish
from discordfs.tokens import Token
from discordfs.tree import Grafted
from discordfs.uploader import Uploader
from discordfs.verification import Verifier

log = logging.getLogger(__name__)

LOGIN_TIMEOUT_S = 15.0
"""Seconds that a mount waits to hear whether the token is good; without an answer it goes on."""

BEGIN_TIMEOUT_S = 5.0
"""Seconds that a mount waits until the log says that its writer is back."""

REFRESH_TIMEOUT_S = 60.0
"""Seconds that a read of a chunk that is gone waits for the newest records."""

_SHOWN = 100  # paths of stranded files in `status`

Cancelled = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Account:
    """Whom to speak to Discord as: the API's base URL and the token. `shared` is where all processes on
    one token share the limiter's counts."""

    api: str
    token: Token
    shared: Path | None


@dataclass(frozen=True, slots=True)
class OpenDrive:
    """A drive that runs, with the parts that `status` and the commands need."""

    drive: Filesystem
    account: Account
    config: Config
    remote: DiscordRemote
    cache: BlockCache
    index: Index
    uploader: Uploader
    close: Callable[[], None]
    standing: Standing
    verifier: Verifier
    doctor: Doctor
    clips: ClipsTree
    keeper: Housekeeper | None = None

    def figures(self) -> dict[str, Any]:
        """What `status` tells of a drive, by the names that commands.md gives."""
        traffic, queue = self.remote.traffic(), self.uploader.status()
        stranded = self.stranded()
        return {
            "api": self.account.api,
            "volume": self.config.volume.id,
            "writer": self.is_writer,
            "holder": self._holder(),
            "staged_files": queue.staged_files,
            "staged_bytes": queue.staged_bytes,
            "uploading_bytes": queue.uploading_bytes,
            "remote_bytes": self.index.ledger.remote_bytes(),
            "stranded_files": len(stranded),
            "stranded": stranded[:_SHOWN],
            "bytes_up": traffic.bytes_up,
            "bytes_down": traffic.bytes_down,
            "cache": asdict(self.cache.status()),
            "requests": dict(traffic.requests),
            "errors": [*self.uploader.errors, *self._upkeep_errors()],
            **gc_figures(self.index),
        }

    def _upkeep_errors(self) -> list[str]:
        damaged = [f"{path} has lost bytes on Discord" for path in self.index.upkeep.damaged_files()]
        return [*(self.keeper.errors if self.keeper is not None else ()), *damaged[:_SHOWN]]

    def gc(self, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """What `discordfs gc` asks for. Raises ReadOnly where another machine writes the volume."""
        if self.keeper is None or not self.is_writer:
            raise ReadOnly(f"only the volume's writer deletes: {self.uploader.lost}")
        return self.keeper.gc(arguments, progress)

    @property
    def is_writer(self) -> bool:
        """Whether changes are taken."""
        return not self.uploader.lost

    def _holder(self) -> str:
        state = self.index.logbook.state()
        return self.uploader.lost or (describe_holder(state) if state.epoch else "")

    def stranded(self) -> list[str]:
        """Paths of what only this machine has though another one writes the volume; empty for a writer."""
        if self.is_writer or self.standing.role is Role.READER:
            return []
        return [os.fsdecode(path) for path in stranded_paths(self.index)]

    def barrier(self, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Waits until all that was closed before is on Discord, and looks whether it is. Raises TimedOut,
        with the last failure, and Damaged. A mount that does not write has nothing to wait for; `lost` says
        why, `stranded_files` how many files will never be on Discord from here, and `is_all_said` whether
        nothing else (deletions, moved directories) is here alone either."""
        if self.is_writer:
            self._drain(arguments, progress)
        if not self.is_writer:
            is_all_said = self.standing.role is Role.READER or self.index.logbook.oldest_change() is None
            stranded = len(self.stranded())
            return {"lost": self.uploader.lost, "stranded_files": stranded, "is_all_said": is_all_said}
        if arguments.get("verify"):
            self.verifier.verify()
        return {"lost": "", "stranded_files": 0, "is_all_said": True}

    def _drain(self, arguments: Mapping[str, Any], progress: Progress) -> None:
        timeout = arguments.get("timeout")

        def tell(status: QueueStatus) -> None:
            progress(asdict(status) | {"errors": list(self.uploader.errors)[-1:]})

        try:
            is_drained = self.uploader.barrier(None if timeout is None else float(timeout), tell)
        except Lost as error:
            log.info("there is nothing to wait for any more: %s", error)
            return
        if not is_drained:
            last = f" ({self.uploader.errors[-1]})" if self.uploader.errors else ""
            raise TimedOut(f"not everything is on Discord yet; it stays staged and goes on{last}")


@dataclass(frozen=True, slots=True)
class Connection:
    """A volume's chunks on Discord, through a loop and a cache of their own."""

    loop: Loop
    remote: DiscordRemote
    store: MessageStore
    cache: BlockCache
    chunks: ChunkStore


def connect(
    undo: ExitStack, account: Account, keys: VolumeKeys, volume: bytes, cache: Path | None, cache_bytes: int
) -> Connection:
    """Asks nothing yet; `undo` ends it. `cache`: the directory for at most so many bytes of blocks."""
    loop = undo.enter_context(Loop("discordfs-loop"))
    remote = DiscordRemote(account.token.reveal(), api=account.api, shared_directory=account.shared)
    undo.callback(close_remote, loop, remote)
    store = RetryingStore(remote)
    blocks = BlockCache(cache, disk_bytes=cache_bytes)
    chunks = ChunkStore(
        store=store, loop=loop, cache=blocks, keys=keys, volume=volume, random_bytes=os.urandom
    )
    undo.callback(chunks.close)
    return Connection(loop, remote, store, blocks, chunks)


def with_views(drive: OpenDrive, state: StateDirectory, settings: Settings) -> Grafted:
    """The drive as it is mounted: with archive/ and clips/ in its root, unless it is to be a pure drive."""
    is_pure = settings.views == "none"
    views: dict[bytes, ReadOnlyTree] = {b"archive": ArchiveTree(state.archive), b"clips": drive.clips}
    return Grafted(drive.drive, {} if is_pure else views, time.monotonic)


def _open_clips(
    parts: _Parts, drive: Drive, keys: VolumeKeys, place: ClipsDirectory, undo: ExitStack
) -> ClipsTree:
    """They share the drive's connection and its cache."""
    there, volume = parts.there, parts.config.volume.uid
    reader = ClipReader(
        there.store, there.loop, there.cache, keys, volume, random_bytes=os.urandom, cancelled=parts.cancelled
    )
    undo.callback(reader.close)
    kept = (
        DrivePlace(drive, os.fsencode(f"/{KEPT_ON_DRIVE}")),
        LocalPlace(place.path),
        StorePlace(ChosenStore(place.catalogue, os.environ)),
    )
    tree = ClipsTree(place, reader, kept, Owner(os.geteuid(), os.getegid()), time.monotonic)
    undo.callback(tree.close)
    return tree


def volume_entry(volume: Volume) -> VolumeEntry:
    """What the log says of a volume."""
    return VolumeEntry(volume.name, volume.guild, volume.log_channel, volume.data_channels)


def holder() -> str:
    """Who writes, for people elsewhere."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def open_drive(
    state: StateDirectory,
    config: Config,
    settings: Settings,
    account: Account,
    keys: VolumeKeys,
    cancelled: Cancelled = lambda: False,
    *,
    wish: Wish = Wish.WRITE,
    is_reachable: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> OpenDrive:
    """Builds and starts everything; the caller holds the state directory's lock. `is_reachable`: Discord
    answered just now; else nothing is asked of it but what the queue needs. `progress` hears how taking over
    goes. Raises BusyError (somebody else has the volume), MissingError (the index is lost), ConfigError,
    FormatError, Forbidden, Unavailable (75), OSError."""
    volume = config.volume
    with ExitStack() as undo:
        free = state.free_bytes()
        there = connect(undo, account, keys, volume.uid, state.cache, settings.cache_bytes(free))
        reader = LogReader(there.chunks, volume.log_channel)
        check_index_is_there(
            state.index_file, there.chunks, reader, is_reachable, partial(_are_hidden, there)
        )
        owner = Caller(os.geteuid(), os.getegid())
        index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
        undo.callback(index.close)
        tenure = _tenure(state, there, reader, index)
        standing = assume_role(tenure, index, there.chunks, reader, wish, is_reachable, progress)
        staging = Staging(
            state.staging, settings.staging_bytes(free), index.ledger.staged_by_segment(), time.monotonic
        )
        undo.callback(staging.close)
        undo.callback(index.close)  # before staging: its last sync is what lets dead segments go
        uploader = Uploader(
            index=index,
            staging=staging,
            chunks=there.chunks,
            volume=volume_entry(volume),
            holder=holder(),
            outbox=state.outbox,
            clock=time.time_ns,
            monotonic=time.monotonic,
        )
        begin = _begin_writing if standing.role is Role.WRITER else _begin_reading
        parts = _Parts(config, settings, there, reader, index, staging, uploader, standing, cancelled)
        drive = begin(parts, undo, is_reachable)
        keeper = _begin_keeping(parts, drive, state, undo) if standing.role is Role.WRITER else None
        clips = _open_clips(parts, drive, keys, ClipsDirectory(state.clips), undo)
        close = undo.pop_all().close
    verifier = Verifier(index, there.chunks, volume.log_channel)
    return OpenDrive(
        drive,
        account,
        config,
        there.remote,
        there.cache,
        index,
        uploader,
        close,
        standing,
        verifier,
        parts.doctor(drive, state),
        clips,
        keeper,
    )


def _are_hidden(there: Connection, messages: Sequence[Message]) -> bool:
    me = there.loop.call(there.remote.login(), LOGIN_TIMEOUT_S)
    if not hidden(messages, me):
        return False
    return not there.loop.call(sees_others(there.remote), LOGIN_TIMEOUT_S)


def _tenure(state: StateDirectory, there: Connection, reader: LogReader, index: Index) -> Tenure:
    return Tenure(
        index=index,
        chunks=there.chunks,
        reader=reader,
        outbox=state.outbox,
        holder=holder(),
        clock=time.time_ns,
        random_bytes=os.urandom,
        wait=threading.Event().wait,
    )


# --- running ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    config: Config
    settings: Settings
    there: Connection
    reader: LogReader
    index: Index
    staging: Staging
    uploader: Uploader
    standing: Standing
    cancelled: Cancelled

    def for_repairs(self, drive: Drive) -> Parts:
        return Parts(self.index, self.staging, self.there.chunks, self.uploader, drive, time.time_ns)

    def doctor(self, drive: Drive, state: StateDirectory) -> Doctor:
        volume = self.config.volume
        premises = premises_of(state.path, volume.log_channel, volume.data_channels)
        return Doctor(premises, self.for_repairs(drive))

    def drive(self, make: type[Drive], **more: Any) -> Drive:
        return make(
            index=self.index,
            staging=self.staging,
            chunks=self.there.chunks,
            uploader=self.uploader,
            clock=time.time_ns,
            cancelled=self.cancelled,
            **more,
        )


def _begin_writing(parts: _Parts, undo: ExitStack, is_reachable: bool) -> Drive:
    there, uploader = parts.there, parts.uploader
    drive = parts.drive(RemoteSyncDrive if parts.settings.fsync == "remote" else Drive)
    was_released = parts.index.logbook.state().released
    uploader.start()
    if not parts.config.volume.demo:
        undo.callback(end_tenure, parts.index, uploader, there.loop, there.remote)
    undo.callback(in_time, uploader.stop, there.loop, there.remote)
    undo.callback(parts.index.sync)
    undo.callback(drive.close)
    lookout = Lookout(uploader.look, lambda: there.remote.is_hearing, lambda error: None)
    _watch(parts, undo, lookout)
    if was_released and is_reachable:
        uploader.has_begun.wait(BEGIN_TIMEOUT_S)
    return drive


def _begin_keeping(parts: _Parts, drive: Drive, state: StateDirectory, undo: ExitStack) -> Housekeeper:
    settings = parts.settings
    keeper = Housekeeper(
        index=parts.index,
        staging=parts.staging,
        chunks=parts.there.chunks,
        uploader=parts.uploader,
        drive=drive,
        volume=volume_entry(parts.config.volume),
        outbox=state.outbox,
        habits=Habits(settings.gc_grace, settings.sweep_every, settings.verify_percent),
        monotonic=time.monotonic,
    )
    keeper.start()
    undo.callback(in_time, keeper.stop, parts.there.loop, parts.there.remote)
    deletions = DeletionWatch(parts.for_repairs(drive), parts.config.volume.log_channel)
    deletions.start()
    undo.callback(in_time, deletions.stop, parts.there.loop, parts.there.remote)
    undo.callback(parts.there.chunks.watch(parts.config.volume.channels, deletions.hint))
    return keeper


def _begin_reading(parts: _Parts, undo: ExitStack, is_reachable: bool) -> Drive:
    """The uploader never runs; it only says why nothing can be changed."""
    parts.uploader.lost = parts.standing.why
    parts.uploader.is_working = False
    undo.callback(parts.uploader.stop)
    undo.callback(parts.index.sync)
    if parts.standing.role is Role.LOSER:
        drive = parts.drive(Drive)
        undo.callback(drive.close)
        return drive
    follower = Follower(parts.index, parts.reader)

    def look(message: int) -> None:
        if message > parts.index.logbook.state().head_message:
            follower.follow()

    lookout = Lookout(
        look,
        lambda: parts.there.remote.is_hearing,
        lambda error: _note_failure(parts.uploader, error),
    )
    drive = parts.drive(Drive, refresh=lambda: lookout.refresh(REFRESH_TIMEOUT_S))
    undo.callback(drive.close)
    _watch(parts, undo, lookout)
    return drive


def _watch(parts: _Parts, undo: ExitStack, lookout: Lookout) -> None:
    undo.callback(lookout.stop)
    lookout.start()
    undo.callback(parts.there.chunks.watch([parts.config.volume.log_channel], lookout.hint))


def _note_failure(uploader: Uploader, error: Exception) -> None:
    text = f"following the log: {error or type(error).__name__}"
    if not uploader.errors or uploader.errors[-1] != text:
        uploader.errors.append(text)
        log.warning("%s", text)


def check_token(account: Account) -> None:
    """Asks Discord once whether the token is good. Raises Unauthorized; other RemoteErrors and TimedOut
    mean that it cannot be told now."""
    with Loop("discordfs-login") as loop:
        remote = DiscordRemote(account.token.reveal(), api=account.api, shared_directory=account.shared)
        try:
            loop.call(remote.login(), LOGIN_TIMEOUT_S)
        except OSError as error:
            raise DiscordfsError(f"{account.api} cannot be asked: {error}") from error
        finally:
            close_remote(loop, remote)
