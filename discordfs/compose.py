"""The composition root of the drive: builds one out of config, starts it and stops it in order.

The only place that hands out clocks, randomness and sleep. Threading: open and close on one thread; what
is in between is for any.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from discordfs.cache import BlockCache
from discordfs.chunkstore import ChunkStore
from discordfs.config import Config, Settings, StateDirectory
from discordfs.control import Progress
from discordfs.disk import boot_id
from discordfs.errors import DiscordfsError, TimedOut
from discordfs.fs import Drive
from discordfs.index import Index
from discordfs.keys import VolumeKeys
from discordfs.model import Caller, Filesystem, QueueStatus
from discordfs.records import VolumeEntry
from discordfs.remote.client import DiscordRemote
from discordfs.remote.loop import Loop
from discordfs.remote.retrying import RetryingStore
from discordfs.remotesync import RemoteSyncDrive
from discordfs.staging import Staging
from discordfs.tokens import Token
from discordfs.uploader import Uploader

LOGIN_TIMEOUT_S = 15.0
"""Seconds that a mount waits to hear whether the token is good; without an answer it goes on."""

POSTS_GRACE_S = 3.0
"""Seconds that posts under way get to finish when the mount ends; what does not is found again later."""

CLOSE_TIMEOUT_S = 10.0


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

    def figures(self) -> dict[str, Any]:
        """What `status` tells of a drive, by the names that commands.md gives."""
        traffic, queue = self.remote.traffic(), self.uploader.status()
        return {
            "api": self.account.api,
            "volume": self.config.volume.id,
            "writer": not self.uploader.lost,
            "staged_files": queue.staged_files,
            "staged_bytes": queue.staged_bytes,
            "uploading_bytes": queue.uploading_bytes,
            "remote_bytes": self.index.ledger.remote_bytes(),
            "bytes_up": traffic.bytes_up,
            "bytes_down": traffic.bytes_down,
            "cache": asdict(self.cache.status()),
            "requests": dict(traffic.requests),
            "errors": list(self.uploader.errors),
        }

    def barrier(self, arguments: Mapping[str, Any], progress: Progress) -> None:
        """Waits until all that was closed before is on Discord. Raises TimedOut, with the last failure."""
        timeout = arguments.get("timeout")

        def tell(status: QueueStatus) -> None:
            progress(asdict(status) | {"errors": list(self.uploader.errors)[-1:]})

        if not self.uploader.barrier(None if timeout is None else float(timeout), tell):
            last = f" ({self.uploader.errors[-1]})" if self.uploader.errors else ""
            raise TimedOut(f"not everything is on Discord yet; it stays staged and goes on{last}")


def open_drive(
    state: StateDirectory,
    config: Config,
    settings: Settings,
    account: Account,
    keys: VolumeKeys,
    cancelled: Callable[[], bool] = lambda: False,
) -> OpenDrive:
    """Builds and starts everything; the caller holds the state directory's lock. Nothing is asked of
    Discord but what the queue needs. Raises ConfigError, FormatError, OSError."""
    volume = config.volume
    with ExitStack() as undo:
        loop = undo.enter_context(Loop("discordfs-loop"))
        remote = DiscordRemote(account.token.reveal(), api=account.api, shared_directory=account.shared)
        undo.callback(_close_remote, loop, remote)
        free = state.free_bytes()
        cache = BlockCache(state.cache, disk_bytes=settings.cache_bytes(free))
        chunks = ChunkStore(
            store=RetryingStore(remote),
            loop=loop,
            cache=cache,
            keys=keys,
            volume=volume.uid,
            random_bytes=os.urandom,
        )
        undo.callback(chunks.close)
        owner = Caller(os.geteuid(), os.getegid())
        index = Index(state.index_file, time.time_ns(), owner, boot_id(), state.staging)
        undo.callback(index.close)
        staging = Staging(
            state.staging, settings.staging_bytes(free), index.ledger.staged_by_segment(), time.monotonic
        )
        undo.callback(staging.close)
        undo.callback(index.close)  # before staging: its last sync is what lets dead segments go
        uploader = Uploader(
            index=index,
            staging=staging,
            chunks=chunks,
            volume=VolumeEntry(volume.name, volume.guild, volume.log_channel, volume.data_channels),
            holder=f"{getpass.getuser()}@{socket.gethostname()}",
            outbox=state.outbox,
            clock=time.time_ns,
            monotonic=time.monotonic,
        )
        make = RemoteSyncDrive if settings.fsync == "remote" else Drive
        drive = make(
            index=index,
            staging=staging,
            chunks=chunks,
            uploader=uploader,
            clock=time.time_ns,
            cancelled=cancelled,
        )
        uploader.start()
        undo.callback(_stop_uploader, uploader, loop, remote)
        undo.callback(index.sync)
        undo.callback(drive.close)
        close = undo.pop_all().close
    return OpenDrive(drive, account, config, remote, cache, index, uploader, close)


def _close_remote(loop: Loop, remote: DiscordRemote) -> None:
    with contextlib.suppress(TimedOut):
        loop.call(remote.close(), CLOSE_TIMEOUT_S)


def _stop_uploader(uploader: Uploader, loop: Loop, remote: DiscordRemote) -> None:
    """Posts under way get a moment; then the transport is closed under them, which ends them."""
    stopper = threading.Thread(target=uploader.stop, name="discordfs-stop")
    stopper.start()
    stopper.join(POSTS_GRACE_S)
    if stopper.is_alive():
        _close_remote(loop, remote)
        stopper.join()


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
            _close_remote(loop, remote)
