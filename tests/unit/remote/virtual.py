"""Time that passes only when everybody sleeps, and a server that keeps fixed windows in it.

For tests of limiting and retrying: nothing waits for real, and the order of events is always the same.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_SETTLE_TURNS = 40  # turns of the event loop after which whatever can run has run


class VirtualTime:
    """A clock (`ns`) and a sleep. `run` runs a coroutine to its end, however long it sleeps."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self.now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def ns(self) -> int:
        return int(self.now * 1e9)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), future))
        await future

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(self._drive(coroutine))

    async def _drive(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(coroutine)
        while not task.done():
            for _ in range(_SETTLE_TURNS):
                await asyncio.sleep(0)
            if not task.done():
                self._wake_next(task)
        return task.result()

    def _wake_next(self, task: asyncio.Future[Any]) -> None:
        while self._sleepers:
            due, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                self.now = max(self.now, due)
                future.set_result(None)
                return
        task.cancel("everybody waits and nobody sleeps")


class WindowServer:
    """Discord's counting: windows that begin with their first request; headers as it sends them."""

    def __init__(self, time: VirtualTime, size: int, span: float, *, global_size: int = 50) -> None:
        self._time = time
        self.size = size
        self.span = span
        self.global_size = global_size
        self._windows: dict[str, tuple[float, int]] = {}
        self.refused = 0
        self.passed = 0

    def take(self, major: str, hash_: str = "h") -> tuple[int, dict[str, str]]:
        """Counts a request that arrives now: status and headers."""
        if not self._count("global", self.global_size, 1.0)[0]:
            self.refused += 1
            return 429, {"X-RateLimit-Scope": "global", "Retry-After": "1"}
        passed, used, ends = self._count(f"{hash_}:{major}", self.size, self.span)
        headers = {
            "X-RateLimit-Bucket": hash_,
            "X-RateLimit-Limit": str(self.size),
            "X-RateLimit-Remaining": str(self.size - used),
            "X-RateLimit-Reset-After": f"{ends - self._time.now:.3f}",
        }
        if passed:
            self.passed += 1
            return 200, headers
        self.refused += 1
        return 429, headers | {"X-RateLimit-Scope": "user"}

    def _count(self, name: str, size: int, span: float) -> tuple[bool, int, float]:
        ends, used = self._windows.get(name, (0.0, 0))
        if self._time.now >= ends:
            ends, used = self._time.now + span, 0
        passed = used < size
        self._windows[name] = (ends, used + passed)
        return passed, used + passed, ends
