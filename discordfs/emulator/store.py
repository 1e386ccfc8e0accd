"""Asynchronous access to the database: one thread runs every piece of work, in the order it was asked for.

That order is a promise: whoever takes a snowflake and hands over its work without awaiting in between
has its message committed in the order of ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .database import Database

T = TypeVar("T")


class Store:
    """The database behind its thread; `run` is called from the event loop only."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1, "emulator-store")
        try:
            self._database = self._thread.submit(Database, path).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def run(self, work: Callable[[Database], T]) -> Awaitable[T]:
        """Queues `work` at once; the awaitable gives its result. Work begun is finished, awaited or not."""
        return asyncio.get_running_loop().run_in_executor(self._thread, work, self._database)

    def run_now(self, work: Callable[[Database], T]) -> T:
        """The same for callers without a loop, at start and stop."""
        return self._thread.submit(work, self._database).result()

    def close(self) -> None:
        """Finishes the queue and closes."""
        self._thread.submit(self._database.close).result()
        self._thread.shutdown()
