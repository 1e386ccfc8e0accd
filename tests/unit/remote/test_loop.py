"""The door between threads and coroutines: it never hangs, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from discordfs.errors import TimedOut, UsageError
from discordfs.remote.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    with Loop("under-test") as running:
        yield running


async def answer(value: int = 42) -> int:
    return value


async def never(began: threading.Event, ended: threading.Event) -> None:
    try:
        began.set()
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_a_call_returns_what_the_coroutine_does(loop: Loop) -> None:
    assert loop.call(answer(), 5) == 42
    assert loop.submit(answer(7)).result(5) == 7


def test_an_error_comes_through(loop: Loop) -> None:
    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        loop.call(fail(), 5)


def test_a_timeout_of_the_coroutine_itself_is_not_ours(loop: Loop) -> None:
    """TimeoutError is also what waiting raises; the two must not be mixed up."""

    async def fail() -> None:
        raise TimeoutError("inner")

    with pytest.raises(TimeoutError, match="inner"):
        loop.call(fail(), 5)


def test_a_call_ends_in_time_and_takes_its_coroutine_along(loop: Loop) -> None:
    """Else a filesystem call would hang for as long as Discord does."""
    began, ended = threading.Event(), threading.Event()
    with pytest.raises(TimedOut):
        loop.call(never(began, ended), 0.01)
    assert not began.is_set() or ended.wait(5)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_call_needs_a_timeout(loop: Loop, timeout: float) -> None:
    with pytest.raises(UsageError):
        loop.call(answer(), timeout)


def test_a_call_from_the_loops_own_thread_is_refused(loop: Loop) -> None:
    async def inside() -> None:
        loop.call(answer(), 1)

    with pytest.raises(UsageError, match="own thread"):
        loop.call(inside(), 5)


def test_nothing_is_accepted_before_start_and_after_stop() -> None:
    loop = Loop()
    with pytest.raises(UsageError):
        loop.call(answer(), 1)
    loop.start()
    with pytest.raises(UsageError):
        loop.start()
    loop.stop()
    loop.stop()
    with pytest.raises(UsageError):
        loop.submit(answer())


def test_stop_ends_what_runs_and_whoever_waits_for_it() -> None:
    loop = Loop("to-be-stopped")
    loop.start()
    began, ended = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def caller() -> None:
        with pytest.raises(TimedOut) as caught:
            loop.call(never(began, ended), 60)
        raised.append(caught.value)

    waiting = threading.Thread(target=caller)
    waiting.start()
    assert began.wait(5)
    loop.stop()
    waiting.join(5)
    assert ended.is_set()
    assert raised
    assert "to-be-stopped" not in {thread.name for thread in threading.enumerate()}


def test_tasks_begun_by_dying_tasks_die_too() -> None:
    ended = threading.Event()
    began = threading.Event()

    async def heir() -> None:
        await never(threading.Event(), ended)

    async def dying() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            keep.append(asyncio.ensure_future(heir()))

    keep: list[asyncio.Future[None]] = []
    loop = Loop()
    loop.start()
    loop.submit(dying())
    assert began.wait(5)
    loop.stop()
    assert keep[0].done()
