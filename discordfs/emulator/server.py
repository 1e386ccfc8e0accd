"""The emulator as a whole: opens its directory, puts the parts together, listens on one loopback port.

One process owns a directory (a lock file says so). Threading: an Emulator is made, started and stopped in
one event loop; opening and closing the directory block it for a moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from .clock import Clock
from .context import CONTEXT, Context
from .control import save_clock
from .database import Database
from .faults import Faults
from .files import Files
from .gateway import gateway_url
from .model import MESSAGE_CHANNELS
from .pipeline import pipeline, set_date
from .routes import API, add_routes
from .settings import Settings
from .snowflake import SnowflakeMaker, time_of
from .store import Store
from .urls import Signer
from .world import World, founded

_HOST = "127.0.0.1"
_READ_BUFFER = 1 << 20  # bytes; large pieces are what makes uploads fast
_AGE_MS = 400 * 86_400_000  # a new directory's guild is older than all that will ever be put into it
_CLOSE_TIME = 1.0  # seconds that requests under way are given at the end


class DirectoryBusy(RuntimeError):
    """Another emulator runs on this directory."""


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach an emulator, and as whom."""

    api: str
    gateway: str
    cdn: str
    token: str
    guild_id: str
    channel_ids: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "api": self.api,
            "gateway": self.gateway,
            "cdn": self.cdn,
            "token": self.token,
            "guild_id": self.guild_id,
            "channel_ids": list(self.channel_ids),
        }


class Emulator:
    """Discord on loopback. `port` 0 takes a free one; `address` is known once it is started."""

    def __init__(self, directory: Path, settings: Settings | None = None, port: int = 0) -> None:
        self._directory = directory
        self._settings = settings or Settings()
        self._port = port
        self._parts = contextlib.AsyncExitStack()
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """The parts; RuntimeError before the start."""
        if self._context is None:
            raise RuntimeError("the emulator is not started")
        return self._context

    @property
    def address(self) -> Address:
        context = self.context
        texts = [each for each in context.world.channels.values() if each.kind in MESSAGE_CHANNELS]
        return Address(
            api=context.base_url + API,
            gateway=gateway_url(context),
            cdn=context.base_url,
            token=context.world.bot.token,
            guild_id=str(context.world.guild.id),
            channel_ids=tuple(str(each.id) for each in texts),
        )

    async def start(self) -> Address:
        """Opens the directory and listens. DirectoryBusy, NewerFormat, OSError if that cannot be."""
        try:
            self._parts.enter_context(_locked(self._directory))
            store = Store(self._directory / "emulator.sqlite")
            self._parts.callback(store.close)
            self._context = _context(self._directory, self._settings, store)
            await self._listen(self._context)
        except BaseException:
            await self._parts.aclose()
            raise
        return self.address

    async def _listen(self, context: Context) -> None:
        application = web.Application(middlewares=[pipeline], client_max_size=1 << 20)
        application[CONTEXT] = context
        application.on_response_prepare.append(set_date)
        add_routes(application)
        runner = web.AppRunner(
            application, access_log=None, read_bufsize=_READ_BUFFER, shutdown_timeout=_CLOSE_TIME
        )
        self._parts.push_async_callback(save_clock, context)
        self._parts.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, _HOST, self._port).start()
        port = runner.addresses[0][1]
        context.base_url = f"http://{_HOST}:{port}"

    async def stop(self) -> None:
        """Ends all connections and closes the directory. Posts under way are committed or not at all."""
        if self._context is not None:
            self._context.stopping.set()
            self._context.released.set()
            self._context.sessions.hang_up(1001)
        await self._parts.aclose()


def _context(directory: Path, settings: Settings, store: Store) -> Context:
    last = store.run_now(Database.last_id)
    saved_ms = int(store.run_now(lambda database: database.meta("clock_ms")) or 0)
    start = max(time.time(), saved_ms / 1000, (time_of(last) + 1) / 1000 if last else 0)
    clock = Clock(start, settings.time_scale)
    ids = SnowflakeMaker(clock.now_ms, last)
    earlier = SnowflakeMaker(lambda: clock.now_ms() - _AGE_MS)
    founding = store.run_now(lambda database: founded(database, earlier.next))
    files = Files(directory)
    files.sweep(store.run_now(Database.attachment_ids))
    context = Context(
        settings=settings,
        clock=clock,
        ids=ids,
        store=store,
        files=files,
        world=World(founding.guild, founding.bot, store),
        signer=Signer(founding.url_key),
        faults=Faults(settings.fault_seed),
    )
    if not settings.hold_uploads:
        context.released.set()
    return context


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DirectoryBusy(
                f"{directory}: another emulator runs on this directory; stop it first"
            ) from None
        yield
    finally:
        os.close(handle)
