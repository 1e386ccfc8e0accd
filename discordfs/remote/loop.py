"""The asyncio thread: the one door by which plain threads reach coroutines.

Limits: one loop per process is enough; `start` is explicit because threads do not survive daemonising.
Threading: every method may be called from any thread but the loop's own; callbacks run on the loop's.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from discordfs.errors import TimedOut, UsageError

T = TypeVar("T")
_log = logging.getLogger(__name__)
_STOP_SECONDS = 10.0  # how long tasks may take to die before `stop` says so and goes on


class Loop:
    """An event loop in a thread of its own, from `start` to `stop`."""

    def __init__(self, name: str = "discordfs-loop") -> None:
        self._name = name
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Loop:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the thread; after a fork, never before it. UsageError when it runs already."""
        with self._guard:
            if self._loop is not None:
                raise UsageError("the event loop runs already")
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run, args=(self._loop,), name=self._name, daemon=True
            )
            self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begins it on the loop, without waiting. UsageError (and the coroutine is closed) when stopped."""
        with self._guard:  # so that nothing slips in behind stop()
            if self._loop is not None:
                return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise UsageError("the event loop does not run")

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Its result, within `timeout` seconds; else it is cancelled and TimedOut raised."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise UsageError("Loop.call on the loop's own thread would wait for itself")
        if not timeout > 0:
            coroutine.close()
            raise UsageError(f"Loop.call needs a timeout above 0, not {timeout}")
        future = self.submit(coroutine)
        try:
            concurrent.futures.wait([future], timeout)
            if future.cancel():
                raise TimedOut(f"no result within {timeout:g} s")
            return future.result()
        except concurrent.futures.CancelledError:
            raise TimedOut("the event loop stopped before there was a result") from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancels what still runs, waits for it, and ends the thread. Harmless when not running."""
        if threading.current_thread() is self._thread:
            raise UsageError("Loop.stop on the loop's own thread would wait for itself")
        with self._guard:
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        self._thread = None

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(_cancel_all())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


async def _cancel_all() -> None:
    me = asyncio.current_task()
    while tasks := [task for task in asyncio.all_tasks() if task is not me]:  # dying tasks may begin others
        for task in tasks:
            task.cancel()
        done, stuck = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.warning("a task failed while the loop stopped: %s: %s", type(error).__name__, error)
        if stuck:
            _log.error("tasks ignored their cancellation: %s", ", ".join(task.get_name() for task in stuck))
            return
