"""Rate limits, kept rather than run into: buckets, the global limit, the budget of invalid answers.

It sits at HTTP level, below both contracts: whoever sends a request takes a slot first and says
afterwards what the answer's headers were. How slots are counted, and why no window is ever overfilled,
stands in ledger.py. Processes that use one token share the ledger; where its directory cannot be used,
this process keeps one of its own and says so.

The first request of a route goes alone, and the others wait for its headers: the size of a bucket is known
before it can be overdrawn. Waiting is first come, first served, per route.
Limits: knows of other machines only by what the headers tell. Threading: the loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import sqlite3
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from discordfs.errors import RateLimited, RemoteError
from discordfs.model import Clock
from discordfs.remote.base import snowflake_ns
from discordfs.remote.ledger import EVERYWHERE, Bucket, Ledger, Rules, Wait, ledger_path
from discordfs.remote.traffic import label

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
_log = logging.getLogger(__name__)

INVALID_BUDGET = 5_000
"""Half of what makes Discord block an address for an hour or so (10,000 in 10 minutes)."""

DEFAULT_RULES = Rules()

_MAJOR = re.compile(r"^/(channels|guilds|webhooks)/(\d+)")
_MESSAGE = re.compile(r"^/channels/\d+/messages/(\d+)$")
_OLD_NS = 14 * 86_400 * 10**9
_BUSY_SLEEP = 0.01


def route_key(method: str, route: str, server_ns: int) -> str:
    """What has a limit of its own: method, template and major id; deletions also by the message's age."""
    major = _MAJOR.match(route)
    key = f"{label(method, route)} {major[2] if major else ''}"
    message = _MESSAGE.match(route)
    if method == "DELETE" and message and server_ns - snowflake_ns(int(message[1])) > _OLD_NS:
        key += " old"
    return key


class Slot:
    """The permission to send one request, and what became of it."""

    def __init__(self, route: str, lease: int, now: Callable[[], float]) -> None:
        self.route = route
        self.lease = lease
        self._now = now
        self.heard_at: float | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.retry_after = 0.0
        self.sent = True

    def heard(self) -> None:
        """The answer has begun: the server has counted the request, however long the body takes."""
        self.heard_at = self._now()

    def answered(self, status: int, headers: Mapping[str, str], retry_after: float = 0.0) -> None:
        """`headers` case-insensitive; `retry_after` in seconds, of a 429."""
        self.status, self.headers, self.retry_after = status, headers, retry_after

    def not_sent(self) -> None:
        """The server has surely not seen it."""
        self.sent = False


class Limiter:
    """Slots for requests. `directory` None: this process alone. `clock` is the wall's, as it is shared."""

    def __init__(
        self,
        api: str,
        token: str,
        directory: Path | None,
        *,
        clock: Clock = time.time_ns,
        sleep: Sleep = asyncio.sleep,
        rng: random.Random | None = None,
        rules: Rules = DEFAULT_RULES,
        invalid_budget: int = INVALID_BUDGET,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._rules = rules
        self._budget = invalid_budget
        self._path = ledger_path(directory, api, token) if directory is not None else None
        self._ledger: Ledger | None = None  # opened by the first request: on the loop's thread, after a fork
        self._owed: list[Callable[[Ledger], None]] = []
        self._turnstiles: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._global_turnstile: asyncio.Lock | None = None
        self._waiting: dict[asyncio.Future[None], tuple[str, str]] = {}  # -> route, and bucket that is full
        self._warned_at = 0.0
        self._closed = False

    @contextlib.asynccontextmanager
    async def slot(self, method: str, route: str, server_ns: int | None = None) -> AsyncIterator[Slot]:
        """Waits for a slot, and settles it by what the body reported. `server_ns`: Discord's time.

        RateLimited when the budget of invalid answers is used up."""
        key = route_key(method, route, self._clock() if server_ns is None else server_ns)
        slot = Slot(key, await self._reserve(key), self._now)
        try:
            yield slot
        finally:
            self._wake(slot.route, self._settle(slot))

    def close(self) -> None:
        """Nothing is taken any more; slots that are held may still be given back, without effect."""
        self._closed = True
        self._drop_ledger()

    def _drop_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    # --- taking ------------------------------------------------------------------------------------

    async def _reserve(self, key: str) -> int:
        turnstile = self._turnstiles.setdefault(key, asyncio.Lock())
        async with turnstile:  # no more than a queue: whoever is first in it waits for the quota
            while True:
                result = await self._try(key)
                if not isinstance(result, Wait):
                    return result
                if result.bucket == EVERYWHERE:
                    return await self._reserve_in_turn(key)
                await self._pause(key, result)

    async def _reserve_in_turn(self, key: str) -> int:
        """With the global limit full, one of all routes waits for it and the others for that one."""
        if self._global_turnstile is None:
            self._global_turnstile = asyncio.Lock()
        async with self._global_turnstile:
            while isinstance(result := await self._try(key), Wait):
                await self._pause(key, result)
            return result

    async def _try(self, key: str) -> int | Wait:
        self._check_budget()
        return await self._patiently(lambda ledger: ledger.reserve(key, self._now()))

    async def _pause(self, key: str, wait: Wait) -> None:
        """For so long, or until a slot that matters was settled in this process."""
        _log.debug("%s waits %.3f s for %s", key, wait.seconds, wait.bucket or "the first answer")
        wakeup: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[wakeup] = (key, wait.bucket)
        timer = asyncio.ensure_future(self._sleep(wait.seconds))
        try:
            await asyncio.wait({wakeup, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[wakeup]
            timer.cancel()

    def _wake(self, route: str, bucket: Bucket | None) -> None:
        for future, (waiting_route, full) in self._waiting.items():
            mine = waiting_route == route or full == EVERYWHERE or (bucket is not None and full == bucket.key)
            if mine and not future.done():
                future.set_result(None)

    def _check_budget(self) -> None:
        now = self._now()
        spent, oldest = self._at_once(lambda ledger: ledger.invalid(now), (0, now))
        if spent >= self._budget:
            again = max(1.0, oldest + self._rules.invalid_span - now)
            raise RateLimited(
                f"Discord refused {spent} requests within 10 minutes and blocks whoever goes on; nothing is"
                f" sent for {again:.0f} s. Check the token and the bot's permissions",
                again,
            )
        if spent >= max(1, self._budget // 5) and now - self._warned_at > self._rules.invalid_span:
            self._warned_at = now
            _log.warning("Discord refused %d requests within 10 minutes; at %d we stop", spent, self._budget)

    # --- settling ----------------------------------------------------------------------------------

    def _settle(self, slot: Slot) -> Bucket | None:
        now = self._now()
        heard_at = now if slot.heard_at is None else slot.heard_at
        bucket = _bucket(slot)
        counted = slot.sent and not (slot.status and bucket is None and _meant(slot.status))
        self._owed.append(
            lambda ledger: ledger.settle(
                slot.lease, slot.route, bucket, sent=slot.sent, counted=counted, now=heard_at
            )
        )
        if bucket is None and _meant(slot.status):
            self._owed.append(lambda ledger: ledger.unlimited(slot.route, now))
        if slot.status == 429:
            name = EVERYWHERE if _is_global(slot) else slot.route
            until = self._rules.surely_over(now, slot.retry_after)
            self._owed.append(lambda ledger: ledger.pause(name, until))
            _log.warning("429 for %s, which waits %.1f s", slot.route, slot.retry_after)
        if _is_invalid(slot):
            self._owed.append(lambda ledger: ledger.add_invalid(now))
        self._at_once(lambda ledger: None, None)
        return bucket

    # --- the ledger --------------------------------------------------------------------------------

    def _now(self) -> float:
        return self._clock() / 1e9

    async def _patiently(self, work: Callable[[Ledger], T]) -> T:
        """Does the work once no other process is in the way; the event loop goes on meanwhile."""
        while not self._closed:
            try:
                return self._with_ledger(work)
            except BlockingIOError:
                await self._sleep(_BUSY_SLEEP * (0.5 + self._rng.random()))
        raise RemoteError("the connection to Discord was closed")

    def _at_once(self, work: Callable[[Ledger], T], otherwise: T) -> T:
        if self._closed:
            return otherwise
        try:
            return self._with_ledger(work)
        except BlockingIOError:
            return otherwise  # what is owed stays owed until the next turn

    def _with_ledger(self, work: Callable[[Ledger], T]) -> T:
        """BlockingIOError while another process writes. Whatever else goes wrong with the file: from then
        on the ledger is in memory."""
        try:
            return self._pay_and(work)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise BlockingIOError("the shared ledger is busy") from error
            _log.warning("rate limits are not shared with other processes: %s", error)
            self._drop_ledger()
            self._path = None
            return self._pay_and(work)

    def _pay_and(self, work: Callable[[Ledger], T]) -> T:
        if self._ledger is None:
            self._ledger = Ledger(self._path, self._rules)
        while self._owed:
            self._owed[0](self._ledger)
            del self._owed[0]
        return work(self._ledger)


def _meant(status: int) -> bool:
    """An answer from the route itself, whose headers (or their absence) tell about its limit."""
    return 200 <= status < 500 and status not in (401, 429)


def _is_global(slot: Slot) -> bool:
    scope = slot.headers.get("X-RateLimit-Scope", "")
    # Without any header of the API it is the wall before it (Cloudflare), which knows no routes.
    return scope == "global" or "X-RateLimit-Global" in slot.headers or not scope


def _is_invalid(slot: Slot) -> bool:
    if slot.status == 429:
        return slot.headers.get("X-RateLimit-Scope") != "shared"
    return slot.status in (401, 403)


def _bucket(slot: Slot) -> Bucket | None:
    """What the headers say, if they say all of it."""
    major = slot.route.split(" ")[2]
    try:
        return Bucket(
            f"{slot.headers['X-RateLimit-Bucket']} {major}",
            max(1, int(slot.headers["X-RateLimit-Limit"])),
            int(slot.headers["X-RateLimit-Remaining"]),
            max(0.0, float(slot.headers["X-RateLimit-Reset-After"])),
        )
    except (KeyError, ValueError):
        return None
