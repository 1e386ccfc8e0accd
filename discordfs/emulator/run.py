"""Runs one emulator until it is told to end: the blocking entry for commands.

Threading: blocks the thread it is called in; SIGTERM and SIGINT end it if that is the main thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .seed import seed_server
from .server import Emulator
from .settings import Settings

Ready = Callable[[Mapping[str, object]], None]


def run(
    directory: Path,
    port: int = 0,
    settings: Settings | None = None,
    seed: bool = False,
    ready: Ready | None = None,
) -> None:
    """Serves `directory` until SIGTERM or SIGINT. `ready` is called once with the keys of the first
    output line: api, gateway, cdn, token, guild_id, channel_ids. Raises DirectoryBusy, NewerFormat,
    OSError.
    """
    asyncio.run(_serve(Emulator(directory, settings, port), seed, ready))


async def _serve(emulator: Emulator, seed: bool, ready: Ready | None) -> None:
    end = asyncio.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end.set)
    await emulator.start()
    try:
        if seed:
            await seed_server(emulator.context)
        if ready is not None:
            ready(emulator.address.as_json())
        await end.wait()
    finally:
        await emulator.stop()
