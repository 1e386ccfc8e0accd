"""Repeats what failed for a while: the same bytes, the same nonce, with jitter, up to a deadline.

It knows the contracts alone, so it goes around any implementation. Unavailable and RateLimited are
repeated; Forbidden, RemoteGone, TooLarge, BadRequest and Unauthorized never are.

A post whose answer was lost may exist. It is repeated only while Discord surely remembers the nonce, so
that the repeat cannot make a twin; after that OutcomeUnknown goes to the caller, who lists the channel.
Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from discordfs.errors import (
    BadRequest,
    OutcomeUnknown,
    RateLimited,
    RemoteError,
    TooLarge,
    Unavailable,
)
from discordfs.model import Clock, Limits, Traffic
from discordfs.remote.base import (
    ATTEMPT,
    Api,
    Exchange,
    Fetched,
    GatewayFrame,
    Hint,
    Message,
    MessageStore,
    UploadFile,
)

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often, in seconds.

    `deadline` is from the first attempt on. Pauses double from `first` to `longest`, each cut to a random
    part of itself. `nonce_sure` is how long Discord remembers a nonce for certain ("a few minutes").
    """

    deadline: float = 60.0
    first: float = 0.5
    longest: float = 15.0
    nonce_sure: float = 120.0


class Trial:
    """One operation on its way through attempts: what is left of its time, and how long to pause."""

    def __init__(self, patience: Patience, clock: Clock, rng: random.Random) -> None:
        self._patience = patience
        self._clock = clock
        self._rng = rng
        self._began = clock()
        self.attempt = 1

    def elapsed(self) -> float:
        return (self._clock() - self._began) / 1e9

    def pause(self, error: RemoteError) -> float | None:
        """Seconds until the next attempt; None when there shall be none."""
        if isinstance(error, RateLimited):
            seconds = error.retry_after + self._rng.uniform(0, self._patience.first)
        elif isinstance(error, Unavailable):
            ceiling = min(self._patience.longest, self._patience.first * 2.0 ** (self.attempt - 1))
            seconds = self._rng.uniform(ceiling / 2, ceiling)
        else:
            return None
        return seconds if self.elapsed() + seconds < self._patience.deadline else None


class Retrier:
    """Runs an operation until it succeeds, fails for good, or its time is over."""

    def __init__(
        self,
        patience: Patience = Patience(),
        *,
        clock: Clock = time.monotonic_ns,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()

    async def repeatable(self, operation: Callable[[], Awaitable[T]]) -> T:
        """For what may be done twice: reading, and deleting."""
        trial = self._trial()
        while True:
            try:
                return await _attempt(operation, trial.attempt)
            except (Unavailable, RateLimited) as error:
                pause = trial.pause(error)
                if pause is None:
                    raise
            await self._sleep(pause)
            trial.attempt += 1

    async def once_only(self, operation: Callable[[], Awaitable[T]], nonce_sure: float) -> T:
        """For what must not happen twice. After a lost answer it is repeated only if the whole attempt fits
        into `nonce_sure` seconds from the first attempt that may have succeeded; and from then on every
        failure that does not prove the contrary is OutcomeUnknown."""
        trial = self._trial()
        doubtful_since: float | None = None
        while True:
            began = trial.elapsed()
            try:
                return await _attempt(operation, trial.attempt)
            except (BadRequest, TooLarge):
                raise  # refused for what it is: no earlier attempt can have passed either
            except RemoteError as error:
                if isinstance(error, OutcomeUnknown) and doubtful_since is None:
                    doubtful_since = began
                pause = trial.pause(error)
                if pause is not None and doubtful_since is not None:
                    lasts = trial.elapsed() - began  # the next attempt may take as long as this one did
                    if trial.elapsed() + pause + lasts >= doubtful_since + nonce_sure:
                        pause = None
                if pause is None:
                    if doubtful_since is None or isinstance(error, OutcomeUnknown):
                        raise
                    raise OutcomeUnknown(
                        f"an earlier attempt may have passed; the last one: {error}"
                    ) from error
            await self._sleep(pause)
            trial.attempt += 1

    def _trial(self) -> Trial:
        return Trial(self._patience, self._clock, self._rng)


async def _attempt(operation: Callable[[], Awaitable[T]], number: int) -> T:
    token = ATTEMPT.set(number)
    try:
        return await operation()
    finally:
        ATTEMPT.reset(token)


class RetryingStore:
    """A MessageStore that repeats. `nonce_sure` 0 never repeats a post whose answer was lost."""

    def __init__(
        self,
        store: MessageStore,
        patience: Patience = Patience(),
        *,
        clock: Clock = time.monotonic_ns,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._store = store
        self._nonce_sure = patience.nonce_sure
        self._retrier = Retrier(patience, clock=clock, sleep=sleep, rng=rng)

    async def post(self, channel: int, content: str, files: Sequence[UploadFile], nonce: str) -> Message:
        nonce_sure = self._nonce_sure if nonce else 0.0
        return await self._retrier.once_only(
            lambda: self._store.post(channel, content, files, nonce), nonce_sure
        )

    async def fetch(self, channel: int, message: int) -> Message:
        return await self._retrier.repeatable(lambda: self._store.fetch(channel, message))

    async def list(
        self, channel: int, *, before: int | None = None, after: int | None = None, limit: int = 100
    ) -> list[Message]:
        return await self._retrier.repeatable(
            lambda: self._store.list(channel, before=before, after=after, limit=limit)
        )

    async def delete(self, channel: int, messages: Sequence[int]) -> None:
        await self._retrier.repeatable(lambda: self._store.delete(channel, messages))

    async def read(self, channel: int, message: int, attachment: int, start: int, length: int) -> bytes:
        return await self._retrier.repeatable(
            lambda: self._store.read(channel, message, attachment, start, length)
        )

    async def limits(self, channel: int) -> Limits:
        return await self._retrier.repeatable(lambda: self._store.limits(channel))

    def watch(self, channels: Sequence[int], callback: Callable[[Hint], None]) -> Callable[[], None]:
        return self._store.watch(channels, callback)

    def now_ns(self) -> int:
        return self._store.now_ns()

    def knows_time(self) -> bool:
        return self._store.knows_time()

    def traffic(self) -> Traffic:
        return self._store.traffic()

    async def close(self) -> None:
        await self._store.close()


class RetryingApi:
    """An Api that repeats: GET, PUT and DELETE freely, others only when nothing can have happened."""

    def __init__(
        self,
        api: Api,
        patience: Patience = Patience(),
        *,
        clock: Clock = time.monotonic_ns,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._api = api
        self._retrier = Retrier(patience, clock=clock, sleep=sleep, rng=rng)

    async def request(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
    ) -> Any:
        async def operation() -> Any:
            return await self._api.request(method, route, params=params, json=json)

        if method in ("GET", "PUT", "DELETE"):
            return await self._retrier.repeatable(operation)
        return await self._retrier.once_only(operation, 0.0)

    async def exchange(
        self,
        method: str,
        route: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        attempt: int = 1,
    ) -> Exchange:
        """One attempt here too: who asks so sees each of them."""
        return await self._api.exchange(method, route, params=params, json=json, attempt=attempt)

    def observe(self, observer: Callable[[Exchange | GatewayFrame], None]) -> Callable[[], None]:
        return self._api.observe(observer)

    async def download(self, url: str, sink: Callable[[bytes], object]) -> Fetched:
        """One attempt here too: a sink that took a part can't be emptied from here."""
        return await self._api.download(url, sink)

    async def close(self) -> None:
        await self._api.close()
